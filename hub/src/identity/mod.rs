//! Names of things, as newtypes that cannot hold an invalid value.
//!
//! The grammar keeps every identifier safe inside Redis keys and hash tags, URLs and log lines.

mod connection_id;
mod grammar;
mod incarnation;
mod node_id;
mod schema;
mod session_id;
mod text_id;

pub use connection_id::ConnectionId;
pub use grammar::IdentityError;
pub use incarnation::{Incarnation, NodeInstance};
pub use node_id::NodeId;
pub use session_id::SessionId;
pub use text_id::{ClientId, GroupName, MessageId, MessageType, UserId};

use grammar::check;
