//! Why a hub does not start.

use std::net::SocketAddr;

use crate::{
    auth::AuthError, cluster::ClusterError, routing::ports::DirectoryError, settings::BadHotSettings,
};

/// Why a hub does not start.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A listener's address cannot be had.
    #[error("cannot listen on {address} for {what}: {error}")]
    Listen {
        /// `clients` or `the api`.
        what: &'static str,
        /// The address as set.
        address: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
    /// Keys that cannot be used.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The cluster's settings cannot work.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The file of hot settings is not good.
    #[error("hot settings: {0}")]
    Hot(#[from] BadHotSettings),
    /// The settings are those of token mode, without keys.
    #[error("mode token needs a directory of keys")]
    NoKeys,
}

/// Why events cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum EventsError {
    /// Nobody asked for events.
    #[error("events are off, set WSC_EVENTS=true")]
    Off,
    /// The log cannot be read.
    #[error(transparent)]
    Unavailable(#[from] DirectoryError),
}
