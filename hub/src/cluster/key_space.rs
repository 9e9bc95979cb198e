//! Names of keys and channels. The grammar of identifiers keeps every name unambiguous.

use std::sync::Arc;

use crate::identity::{GroupName, NodeId, NodeInstance, SessionId, UserId};

/// Everything of one cluster in Redis begins with its prefix. The braces are hash tags of Redis Cluster: what is in
/// them decides the slot, so all keys of a user are together, and all of a node.
#[derive(Debug, Clone)]
pub(super) struct KeySpace {
    prefix: Arc<str>,
}

impl KeySpace {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: Arc::from(prefix) }
    }

    /// The node's record under its lease.
    pub(super) fn lease(&self, node: &NodeId) -> String {
        format!("{}lease:{{{node}}}", self.prefix)
    }

    /// Set of node instances that may exist.
    pub(super) fn nodes(&self) -> String {
        format!("{}nodes", self.prefix)
    }

    /// Who may use the prefix.
    pub(super) fn owner(&self) -> String {
        format!("{}owner", self.prefix)
    }

    /// Users with an entry of that instance.
    pub(super) fn user_index(&self, instance: &NodeInstance) -> String {
        format!("{}idx:{{{}}}:{}:users", self.prefix, instance.node, instance.incarnation)
    }

    /// Groups with an entry of that instance.
    pub(super) fn group_index(&self, instance: &NodeInstance) -> String {
        format!("{}idx:{{{}}}:{}:groups", self.prefix, instance.node, instance.incarnation)
    }

    /// Held by the node that sweeps that instance.
    pub(super) fn reap_claim(&self, instance: &NodeInstance) -> String {
        format!("{}idx:{{{}}}:{}:reaper", self.prefix, instance.node, instance.incarnation)
    }

    /// A user's connections.
    pub(super) fn connections(&self, user: &UserId) -> String {
        format!("{}{{u:{user}}}:conn", self.prefix)
    }

    /// A user's ban.
    pub(super) fn ban(&self, user: &UserId) -> String {
        format!("{}{{u:{user}}}:ban", self.prefix)
    }

    /// A user's stored messages.
    pub(super) fn inbox(&self, user: &UserId) -> String {
        format!("{}{{u:{user}}}:inbox", self.prefix)
    }

    /// What is known of a user's stored messages.
    pub(super) fn inbox_meta(&self, user: &UserId) -> String {
        format!("{}{{u:{user}}}:meta", self.prefix)
    }

    /// There while a repeat of that message is known for one.
    pub(super) fn idempotency(&self, user: &UserId, message: &str) -> String {
        format!("{}{{u:{user}}}:idem:{message}", self.prefix)
    }

    /// Stream of what the backend may want to hear.
    pub(super) fn events(&self) -> String {
        format!("{}{{events}}", self.prefix)
    }

    /// Users that were sent away and may not have come back, by the time until when they are expected.
    pub(super) fn moved_users(&self) -> String {
        format!("{}{{events}}:moving", self.prefix)
    }

    /// The nodes with members of a group.
    pub(super) fn group_nodes(&self, group: &GroupName) -> String {
        format!("{}{{g:{group}}}:nodes", self.prefix)
    }

    /// What is kept of one of a user's sessions.
    pub(super) fn session(&self, user: &UserId, session: SessionId) -> String {
        format!("{}{{u:{user}}}:session:{session}", self.prefix)
    }

    /// The user's sessions, each with the end of its life in ms.
    pub(super) fn sessions(&self, user: &UserId) -> String {
        format!("{}{{u:{user}}}:sessions", self.prefix)
    }

    /// Since when a user's tokens must have been issued.
    pub(super) fn revoked(&self, user: &UserId) -> String {
        format!("{}{{u:{user}}}:revoked", self.prefix)
    }

    /// Holds a random text for as long as Redis keeps its data. `tag`: of one primary of a Redis Cluster.
    pub(super) fn marker(&self, tag: Option<&str>) -> String {
        match tag {
            None => format!("{}registry", self.prefix),
            Some(tag) => format!("{}registry:{{{tag}}}", self.prefix),
        }
    }

    /// Channel that only that node reads.
    pub(super) fn node_channel(&self, node: &NodeId) -> String {
        format!("{}node:{{{node}}}", self.prefix)
    }

    /// Channel that every node reads.
    pub(super) fn broadcast_channel(&self) -> String {
        format!("{}broadcast", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_contract() {
        let keys = KeySpace::new("wsc:");
        let instance: NodeInstance = "chat-0#k3x9.2".parse().unwrap();
        let user = UserId::new("alice").unwrap();
        assert_eq!(keys.lease(&instance.node), "wsc:lease:{chat-0}");
        assert_eq!(keys.nodes(), "wsc:nodes");
        assert_eq!(keys.owner(), "wsc:owner");
        assert_eq!(keys.user_index(&instance), "wsc:idx:{chat-0}:k3x9.2:users");
        assert_eq!(keys.group_index(&instance), "wsc:idx:{chat-0}:k3x9.2:groups");
        assert_eq!(keys.connections(&user), "wsc:{u:alice}:conn");
        assert_eq!(keys.ban(&user), "wsc:{u:alice}:ban");
        assert_eq!(keys.inbox(&user), "wsc:{u:alice}:inbox");
        assert_eq!(keys.inbox_meta(&user), "wsc:{u:alice}:meta");
        assert_eq!(keys.idempotency(&user, "4a"), "wsc:{u:alice}:idem:4a");
        assert_eq!(keys.events(), "wsc:{events}");
        assert_eq!(keys.moved_users(), "wsc:{events}:moving");
        assert_eq!(keys.group_nodes(&GroupName::new("room-1").unwrap()), "wsc:{g:room-1}:nodes");
        assert_eq!(keys.revoked(&user), "wsc:{u:alice}:revoked");
        let session = "0123456789abcdef0123456789abcdef";
        assert_eq!(
            keys.session(&user, session.parse().unwrap()),
            format!("wsc:{{u:alice}}:session:{session}")
        );
        assert_eq!(keys.sessions(&user), "wsc:{u:alice}:sessions");
        assert_eq!(keys.marker(None), "wsc:registry");
        assert_eq!(keys.marker(Some("7")), "wsc:registry:{7}");
        assert_eq!(keys.node_channel(&instance.node), "wsc:node:{chat-0}");
        assert_eq!(keys.broadcast_channel(), "wsc:broadcast");
    }
}
