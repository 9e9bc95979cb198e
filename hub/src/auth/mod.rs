//! Who connects, who calls, and what they may do.

mod api_keys;
mod claims;
mod grants;
mod jwks;
mod key_dir;
mod key_set;
#[cfg(test)]
mod key_set_test;
mod origin;
mod token;
#[cfg(test)]
mod token_test;
mod verifying_key;

pub use api_keys::{ApiKey, ApiKeys, Scope};
pub use claims::{Claims, TOKEN_LEEWAY};
pub use grants::Grants;
pub use key_dir::AuthError;
pub use key_set::KeySet;
pub use origin::origin_allowed;
pub use token::{Authenticator, TokenError};
