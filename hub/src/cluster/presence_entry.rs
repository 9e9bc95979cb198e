//! A user's hash in the directory, field by field.

use std::{
    collections::HashSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use crate::{
    identity::{ClientId, ConnectionId, NodeInstance, UserId},
    protocol::millis::millis_since_epoch,
    routing::ports::{Ban, ConnectionRecord, DirectoryError, Presence, PresentConnection},
};

/// The value of one connection's field. `seq` comes first, because scripts read it there.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    /// Order of the user's connections; given by Redis.
    #[serde(default, skip_serializing)]
    seq: u64,
    /// A newer connection took its place; written by Redis.
    #[serde(default, skip_serializing)]
    replaced: bool,
    /// Milliseconds since the epoch.
    connected_at: u64,
    client_id: ClientId,
    remote_address: String,
}

/// The name of a connection's field.
pub(super) fn field(instance: &NodeInstance, connection: ConnectionId) -> String {
    format!("{}{connection}", field_prefix(instance))
}

/// What the fields of one instance begin with.
pub(super) fn field_prefix(instance: &NodeInstance) -> String {
    format!("{instance}/")
}

/// The instances that fields belong to, sorted, each once.
pub(super) fn nodes_of_fields(fields: &[String]) -> Vec<NodeInstance> {
    let instance = |field: &String| field.split_once('/').and_then(|(instance, _)| instance.parse().ok());
    let mut instances: Vec<_> = fields.iter().filter_map(instance).collect();
    instances.sort_unstable();
    instances.dedup();
    instances
}

/// A connection's value without `seq`.
pub(super) fn entry_json(record: &ConnectionRecord) -> Result<String, DirectoryError> {
    let entry = Entry {
        seq: 0,
        replaced: false,
        connected_at: millis_since_epoch(record.connected_at),
        client_id: record.client.clone(),
        remote_address: record.remote_address.clone(),
    };
    serde_json::to_string(&entry).map_err(|e| DirectoryError::Unavailable(format!("other: {e}")))
}

/// How a device stands in its entries. The grammar of ids has nothing that JSON would write otherwise.
pub(super) fn device_in_entry(device: &ClientId) -> String {
    format!(r#""client_id":"{device}""#)
}

/// A user's hash as read, not yet held against the leases.
#[derive(Debug, Default)]
pub(super) struct UserHash {
    ver: u64,
    /// By `seq`, so oldest first.
    connections: Vec<(u64, PresentConnection)>,
    /// Those that a newer one replaces.
    pub(super) replaced: Vec<PresentConnection>,
    /// It says that a client is expected back, perhaps no longer.
    pub(super) moving: bool,
}

impl UserHash {
    /// Reads the pairs of HGETALL. What a newer release wrote and this one cannot read is passed over.
    pub(super) fn parse(user: &UserId, pairs: &[(String, String)]) -> Self {
        let mut hash = Self::default();
        for (name, value) in pairs {
            match name.split_once('/') {
                Some((instance, connection)) => {
                    if let (Ok(instance), Ok(connection), Ok(entry)) =
                        (instance.parse(), connection.parse(), serde_json::from_str::<Entry>(value))
                    {
                        let record = ConnectionRecord {
                            user: user.clone(),
                            connection,
                            client: entry.client_id,
                            connected_at: UNIX_EPOCH
                                .checked_add(Duration::from_millis(entry.connected_at))
                                .unwrap_or(UNIX_EPOCH),
                            remote_address: entry.remote_address,
                            token_issued_at: None,
                            session: None,
                        };
                        let connection = PresentConnection { instance, record };
                        if entry.replaced {
                            hash.replaced.push(connection.clone());
                        }
                        hash.connections.push((entry.seq, connection));
                    }
                }
                None if name == "ver" => hash.ver = value.parse().unwrap_or(0),
                // Another word than a time stands for a time that is over.
                None if name == "moving" => hash.moving = value.parse::<u64>().is_ok(),
                None => {}
            }
        }
        hash.connections.sort_by_key(|(seq, _)| *seq);
        hash
    }

    /// The instances it names.
    pub(super) fn instances(&self) -> HashSet<NodeInstance> {
        self.connections.iter().map(|(_, connection)| connection.instance.clone()).collect()
    }

    /// Whether there is no connection, of whatever node.
    pub(super) fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// All of it, though no instance may live.
    pub(super) fn doubtful_presence(self) -> Presence {
        let connections = self.connections.into_iter().map(|(_, connection)| connection).collect();
        Presence { ver: self.ver, connections, doubtful: true, moving: false }
    }

    /// What is left when only `live` instances count.
    pub(super) fn presence(self, live: &HashSet<NodeInstance>) -> Presence {
        let connections = self.connections.into_iter().map(|(_, connection)| connection);
        let connections = connections.filter(|c| live.contains(&c.instance)).collect();
        Presence { ver: self.ver, connections, doubtful: false, moving: false }
    }
}

/// A user's ban: `{"until": ms since the epoch, "reason": ".."}`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct BanEntry {
    until: Option<u64>,
    reason: String,
}

/// A ban as it is written.
pub(super) fn ban_json(ban: &Ban) -> Result<String, DirectoryError> {
    let entry = BanEntry { until: Some(millis_since_epoch(ban.until)), reason: ban.reason.clone() };
    serde_json::to_string(&entry).map_err(|e| DirectoryError::Unavailable(format!("other: {e}")))
}

/// Reads a ban. `left_ms` is the life of its key, and used where the entry does not say.
pub(super) fn parse_ban(text: &str, left_ms: i64) -> Ban {
    let ban: BanEntry = serde_json::from_str(text).unwrap_or_default();
    let until = match ban.until {
        Some(until) => UNIX_EPOCH.checked_add(Duration::from_millis(until)),
        None => SystemTime::now().checked_add(Duration::from_millis(u64::try_from(left_ms).unwrap_or(0))),
    };
    Ban { until: until.unwrap_or(UNIX_EPOCH), reason: ban.reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn a_hash_is_read_oldest_first_and_dead_instances_are_left_out() {
        let user = UserId::new("alice").unwrap();
        let (a, b) = ("01ARZ3NDEKTSV4RRFFQ69G5FAV", "01ARZ3NDEKTSV4RRFFQ69G5FAW");
        let entry = |seq: u8| {
            format!(
                r#"{{"seq":{seq},"connected_at":1500,"client_id":"phone","remote_address":"10.0.0.1:9"}}"#
            )
        };
        let pairs = [
            pair("ver", "1732356000000123"),
            pair("seq", "9"),
            pair(&format!("chat-1#k.1/{b}"), &entry(9)),
            pair(&format!("chat-0#k.1/{a}"), &entry(2)),
            pair("chat-0#k.1/garbage", &entry(3)),
            pair(&format!("chat-2#k.1/{a}"), "garbage"),
            pair("moving", "17"),
        ];
        let hash = UserHash::parse(&user, &pairs);
        assert_eq!(hash.instances().len(), 2);
        assert!(hash.moving && !UserHash::parse(&user, &[pair("moving", "gone")]).moving);
        let all = hash.instances();
        let presence = UserHash::parse(&user, &pairs).presence(&all);
        assert_eq!(presence.ver, 1_732_356_000_000_123);
        let order: Vec<_> = presence.connections.iter().map(|c| c.instance.node.as_str()).collect();
        assert_eq!(order, ["chat-0", "chat-1"]);
        assert_eq!(presence.connections[0].record.connected_at, UNIX_EPOCH + Duration::from_millis(1500));
        let live = HashSet::from(["chat-1#k.1".parse().unwrap()]);
        assert_eq!(hash.presence(&live).connections.len(), 1);
    }

    #[test]
    fn the_entry_begins_so_that_a_script_can_put_seq_in_front() {
        let record = ConnectionRecord {
            user: UserId::new("alice").unwrap(),
            connection: "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap(),
            client: ClientId::new("phone").unwrap(),
            connected_at: UNIX_EPOCH + Duration::from_millis(1500),
            remote_address: "10.0.0.1:9".to_owned(),
            token_issued_at: None,
            session: None,
        };
        let json = entry_json(&record).unwrap();
        assert_eq!(json, r#"{"connected_at":1500,"client_id":"phone","remote_address":"10.0.0.1:9"}"#);
        assert!(json.contains(&device_in_entry(&record.client)), "the script looks for it");
    }

    #[test]
    fn a_ban_says_until_when_even_if_its_text_does_not() {
        let ban = Ban { until: UNIX_EPOCH + Duration::from_millis(1500), reason: "spam".to_owned() };
        assert_eq!(parse_ban(&ban_json(&ban).unwrap(), 9), ban);
        assert!(parse_ban("?", 60_000).until > SystemTime::now() + Duration::from_secs(50));
    }
}
