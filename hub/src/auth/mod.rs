//! Who connects, who calls, and what they may do.

mod api_keys;
mod grants;
mod key_dir;
mod origin;
mod token;
#[cfg(test)]
mod token_test;

pub use api_keys::{ApiKey, ApiKeys, Scope};
pub use grants::Grants;
pub use key_dir::AuthError;
pub use origin::origin_allowed;
pub use token::{Authenticator, Claims, TokenError};
