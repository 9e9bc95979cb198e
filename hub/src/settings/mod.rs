//! Everything that can be set, read from flags and variables, validated before anything starts.

mod catalogue;
mod drain;
mod duration;
mod effective;
mod hot_settings;
mod limits;
mod parse;
mod parse_auth;
mod parse_redis;
#[cfg(test)]
mod parse_test;
pub mod reference;

pub use catalogue::{CATALOGUE, Setting};
pub use drain::DrainSettings;
pub use duration::parse_duration;
pub use effective::{
    AuthMode, AuthSettings, ClientSend, DEV_API_KEY, InboxSettings, LogFormat, OnRegistryDown,
    PerUserSettings, RedisMode, RedisSettings, Settings,
};
pub use hot_settings::{BadHotSettings, FileState, Hot, HotFile, HotSettings};
pub use limits::Limits;
pub use parse::{Exit, Surroundings, parse};
