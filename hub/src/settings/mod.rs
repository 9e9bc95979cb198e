//! Everything that can be set, read from flags and variables, validated before anything starts.

mod catalogue;
mod duration;
mod effective;
mod parse;
mod parse_auth;
#[cfg(test)]
mod parse_test;

pub use catalogue::{CATALOGUE, NOT_BUILT, Setting};
pub use duration::parse_duration;
pub use effective::{
    AuthMode, AuthSettings, ClientSend, DEV_API_KEY, LogFormat, LogSettings, RedisSettings, Settings,
};
pub use parse::{Exit, Surroundings, parse};
