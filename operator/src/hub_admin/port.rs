//! What the reconciler needs of a hub's admin API.

use std::net::IpAddr;

use futures::future::BoxFuture;

use crate::observed::hub::{HubReport, NodeEntry};

/// Why a hub gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum HubAdminError {
    /// No connection, or no answer in time.
    #[error("no answer from http://{address}{path}: {cause}")]
    Silent {
        /// Address asked.
        address: String,
        /// Path asked.
        path: &'static str,
        /// What the connection said.
        cause: String,
    },
    /// The hub refused the key.
    #[error(
        "http://{address}{path} refused the admin key ({status}); is the key in the Secret the one the hub has loaded?"
    )]
    Refused {
        /// Address asked.
        address: String,
        /// Path asked.
        path: &'static str,
        /// HTTP status.
        status: u16,
    },
    /// Another status than 200.
    #[error("http://{address}{path} answered {status}")]
    Status {
        /// Address asked.
        address: String,
        /// Path asked.
        path: &'static str,
        /// HTTP status.
        status: u16,
    },
    /// The body is not what a hub sends.
    #[error("the answer of http://{address}{path} cannot be read: {cause}")]
    Body {
        /// Address asked.
        address: String,
        /// Path asked.
        path: &'static str,
        /// What the decoder said.
        cause: String,
    },
}

/// Asks hubs about themselves.
pub trait HubAdmin: Send + Sync + 'static {
    /// `GET /admin/status` of the hub at an address.
    ///
    /// # Errors
    /// When there is no usable answer within the client's time limit.
    fn status<'a>(&'a self, ip: IpAddr, key: &'a str) -> BoxFuture<'a, Result<HubReport, HubAdminError>>;

    /// `GET /nodes` of the hub at an address.
    ///
    /// # Errors
    /// When there is no usable answer within the client's time limit.
    fn nodes<'a>(&'a self, ip: IpAddr, key: &'a str) -> BoxFuture<'a, Result<Vec<NodeEntry>, HubAdminError>>;
}
