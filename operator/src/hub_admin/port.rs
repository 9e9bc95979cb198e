//! What the reconciler needs of a hub's admin API.

use std::net::IpAddr;

use futures::future::BoxFuture;
use serde::Serialize;

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
    /// The hub is not the one that is meant, or not in the state for what is asked.
    #[error("http://{address}{path} refused: {message}")]
    Conflict {
        /// Address asked.
        address: String,
        /// Path asked.
        path: &'static str,
        /// The hub's own sentence.
        message: String,
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

/// Body of `POST /admin/drain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DrainCall {
    /// The caller's name for the drain; the same again does not restart its clock.
    pub id: String,
    /// Who is meant; anybody else refuses.
    pub expect: ExpectedNode,
    /// Connections closed per second, 1 to 100000.
    pub rate_per_second: u32,
    /// When all are to be gone, in milliseconds from the start of the drain of this id; 1 to a day.
    pub deadline_ms: u64,
    /// Clients come back after a random time up to this, in milliseconds; at most 60000.
    pub retry_after_max_ms: u64,
}

/// Which life of which node is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExpectedNode {
    /// Node id.
    pub node_id: String,
    /// Its incarnation.
    pub incarnation: String,
}

/// Body of `POST /admin/rebalance`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RebalanceCall {
    /// Connections to close, at least 1.
    pub close: u32,
    /// Connections closed per second, 1 to 100000.
    pub rate_per_second: u32,
}

/// Asks hubs about themselves and tells them what to do.
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

    /// `POST /admin/drain` of the hub at an address.
    ///
    /// # Errors
    /// [`HubAdminError::Conflict`] when another node or life is there or the process ends; others as above.
    fn drain<'a>(
        &'a self,
        ip: IpAddr,
        key: &'a str,
        call: &'a DrainCall,
    ) -> BoxFuture<'a, Result<(), HubAdminError>>;

    /// `DELETE /admin/drain` of the hub at an address.
    ///
    /// # Errors
    /// [`HubAdminError::Conflict`] when the last connection is gone or the process ends; others as above.
    fn cancel_drain<'a>(&'a self, ip: IpAddr, key: &'a str) -> BoxFuture<'a, Result<(), HubAdminError>>;

    /// `POST /admin/rebalance` of the hub at an address.
    ///
    /// # Errors
    /// [`HubAdminError::Conflict`] when the node is not active; others as above.
    fn rebalance<'a>(
        &'a self,
        ip: IpAddr,
        key: &'a str,
        call: &'a RebalanceCall,
    ) -> BoxFuture<'a, Result<(), HubAdminError>>;
}
