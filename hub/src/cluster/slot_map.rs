//! Which server of a Redis Cluster has which slot. Pure.

use std::collections::BTreeSet;

use redis::{Arg, Cmd, Value};

use super::redis_address::Endpoint;

/// Slots of a Redis Cluster.
const SLOTS: usize = 16_384;
/// Stands for no server.
const NOBODY: u16 = u16::MAX;

/// The slot of a key or a sharded channel: what is in the first braces decides, if anything is.
pub(super) fn slot_of(key: &[u8]) -> u16 {
    let tag = key.iter().position(|b| *b == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        rest.iter().position(|b| *b == b'}').filter(|length| *length > 0).map(|length| &rest[..length])
    });
    // 2^14 slots, so the remainder of a `u16` is exact.
    crc16::State::<crc16::XMODEM>::calculate(tag.unwrap_or(key)) % 16_384
}

/// The key, or the channel, by which a command is routed; `None` for one that has none, such as SCRIPT LOAD.
pub(super) fn key_of(command: &Cmd) -> Option<&[u8]> {
    let mut words = command.args_iter().filter_map(|arg| match arg {
        Arg::Simple(word) => Some(word),
        _ => None,
    });
    let name = words.next()?;
    if name.eq_ignore_ascii_case(b"SCRIPT") {
        return None;
    }
    let before = match name.to_ascii_uppercase().as_slice() {
        // The script and the number of its keys.
        b"EVALSHA" | b"EVAL" => 2,
        // A command within a command.
        b"MEMORY" | b"OBJECT" | b"XGROUP" | b"XINFO" => 1,
        b"XREAD" | b"XREADGROUP" => {
            words.find(|word| word.eq_ignore_ascii_case(b"STREAMS"))?;
            0
        }
        _ => 0,
    };
    words.nth(before)
}

/// Where an error sends a command instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Redirection {
    /// This slot is there from now on.
    Moved(u16, Endpoint),
    /// This once: the slot is on its way there.
    Ask(Endpoint),
}

impl Redirection {
    /// Reads `MOVED` and `ASK`; an empty host means the server that answered.
    pub(super) fn of(error: &redis::RedisError, answered: &Endpoint) -> Option<Self> {
        let (address, slot) = error.redirect_node()?;
        let (host, port) = address.rsplit_once(':')?;
        let host = if host.is_empty() { &answered.host } else { host };
        let at = Endpoint { host: host.to_owned(), port: port.parse().ok()? };
        match error.code() {
            Some("MOVED") => Some(Self::Moved(slot, at)),
            Some("ASK") => Some(Self::Ask(at)),
            _ => None,
        }
    }
}

/// The slots and their primaries, with all servers that were named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SlotMap {
    primaries: Vec<Endpoint>,
    /// Place of the slot's primary.
    owners: Vec<u16>,
    servers: BTreeSet<Endpoint>,
}

impl SlotMap {
    /// A map of which nothing is known.
    pub(super) fn empty() -> Self {
        Self { primaries: Vec::new(), owners: vec![NOBODY; SLOTS], servers: BTreeSet::new() }
    }

    /// Reads the answer to `CLUSTER SLOTS` of the server `answered`; `None` when it says nothing usable.
    pub(super) fn parse(answer: &Value, answered: &Endpoint) -> Option<Self> {
        let Value::Array(ranges) = answer else { return None };
        let mut map = Self::empty();
        map.servers.insert(answered.clone());
        for range in ranges {
            let Value::Array(parts) = range else { continue };
            let (Some(Value::Int(first)), Some(Value::Int(last))) = (parts.first(), parts.get(1)) else {
                continue;
            };
            let mut servers = parts[2..].iter().map(|server| endpoint(server, answered));
            let Some(Some(primary)) = servers.next() else { continue };
            map.servers.extend(servers.flatten());
            let place = map.place(&primary);
            let (first, last) = (usize::try_from(*first).ok()?, usize::try_from(*last).ok()?);
            map.owners.get_mut(first..=last.min(SLOTS - 1))?.fill(place);
        }
        (!map.primaries.is_empty()).then_some(map)
    }

    fn place(&mut self, primary: &Endpoint) -> u16 {
        self.servers.insert(primary.clone());
        let place = self.primaries.iter().position(|known| known == primary).unwrap_or_else(|| {
            self.primaries.push(primary.clone());
            self.primaries.len() - 1
        });
        u16::try_from(place).unwrap_or(NOBODY)
    }

    /// The primary that has a slot.
    pub(super) fn owner(&self, slot: u16) -> Option<&Endpoint> {
        let place = self.owners.get(usize::from(slot)).copied().unwrap_or(NOBODY);
        self.primaries.get(usize::from(place))
    }

    /// The same map with one slot elsewhere.
    pub(super) fn with_moved(&self, slot: u16, to: &Endpoint) -> Self {
        let mut map = self.clone();
        let place = map.place(to);
        if let Some(owner) = map.owners.get_mut(usize::from(slot)) {
            *owner = place;
        }
        map
    }

    /// All primaries that have slots.
    pub(super) fn primaries(&self) -> BTreeSet<&Endpoint> {
        let used: BTreeSet<u16> = self.owners.iter().copied().collect();
        used.into_iter().filter_map(|place| self.primaries.get(usize::from(place))).collect()
    }

    /// All servers that were named, replicas too.
    pub(super) fn servers(&self) -> &BTreeSet<Endpoint> {
        &self.servers
    }

    /// Whether both give each slot to the same server.
    pub(super) fn same_owners(&self, other: &Self) -> bool {
        (0..16_384).all(|slot| self.owner(slot) == other.owner(slot))
    }

    /// For each primary with slots the hash tag that [`SlotMap::tag_beside`] gives for its keys.
    pub(super) fn tags(&self) -> Vec<String> {
        let tag = |primary: &Endpoint| {
            (0..1_638_400u32)
                .map(|n| n.to_string())
                .find(|tag| self.owner(slot_of(tag.as_bytes())) == Some(primary))
        };
        self.primaries().into_iter().filter_map(tag).collect()
    }

    /// A hash tag whose slot the same primary has as `key`: the smallest number that serves, so that every node that
    /// knows the same map says the same. `None` when the owner is not known.
    pub(super) fn tag_beside(&self, key: &[u8]) -> Option<String> {
        let owner = self.owner(slot_of(key))?;
        // A primary with a single slot is found within this many on average; a hundred times that is certain enough.
        (0..1_638_400u32)
            .map(|n| n.to_string())
            .find(|tag| self.owner(slot_of(tag.as_bytes())) == Some(owner))
    }
}

/// Reads one server of an answer to `CLUSTER SLOTS`.
fn endpoint(server: &Value, answered: &Endpoint) -> Option<Endpoint> {
    let Value::Array(parts) = server else { return None };
    let host = match parts.first()? {
        // The documentation of CLUSTER SLOTS: none means the server that answers, a question mark that it is unknown.
        Value::Nil => answered.host.clone(),
        Value::BulkString(host) => match std::str::from_utf8(host).ok()? {
            "" => answered.host.clone(),
            "?" => return None,
            host => host.to_owned(),
        },
        _ => return None,
    };
    match parts.get(1)? {
        Value::Int(port) => Some(Endpoint { host, port: u16::try_from(*port).ok()? }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str, port: u16) -> Endpoint {
        Endpoint { host: host.to_owned(), port }
    }

    fn server(host: Value, port: i64) -> Value {
        Value::Array(vec![host, Value::Int(port), Value::BulkString(b"id".to_vec())])
    }

    fn text(host: &str) -> Value {
        Value::BulkString(host.as_bytes().to_vec())
    }

    fn map() -> SlotMap {
        let range = |first, last, servers: Vec<Value>| {
            let mut parts = vec![Value::Int(first), Value::Int(last)];
            parts.extend(servers);
            Value::Array(parts)
        };
        let answer = Value::Array(vec![
            range(0, 99, vec![server(text("a"), 1), server(text("d"), 4)]),
            range(100, 8000, vec![server(Value::Nil, 2), server(text("?"), 5)]),
            range(8001, 8001, vec![server(text(""), 2)]),
            range(8002, 16_383, vec![server(text("c"), 3)]),
        ]);
        SlotMap::parse(&answer, &at("me", 9)).unwrap()
    }

    #[test]
    fn slots_are_those_of_the_specification() {
        // CLUSTER KEYSLOT of a Redis 7.
        for (key, slot) in [
            ("123456789", 12_739),
            ("foo", 12_182),
            ("{foo}bar", 12_182),
            ("x{}{foo}", slot_of(b"x{}{foo}")),
            ("foo{bar}{zap}", 5061),
            ("foo{{bar}}zap", 4015),
            ("wsc:{u:alice}:conn", slot_of(b"u:alice")),
        ] {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key}");
        }
        assert_ne!(slot_of(b"x{}{foo}"), slot_of(b"foo"), "empty braces are no tag");
    }

    #[test]
    fn the_answer_of_a_server_is_read() {
        let map = map();
        for (slot, owner) in [(0, at("a", 1)), (99, at("a", 1)), (100, at("me", 2)), (16_383, at("c", 3))] {
            assert_eq!(map.owner(slot), Some(&owner), "{slot}");
        }
        assert_eq!(map.primaries().len(), 3);
        assert_eq!(map.servers().len(), 5, "with the replica and the one that answered: {:?}", map.servers());
        assert_eq!(SlotMap::parse(&Value::Array(Vec::new()), &at("me", 9)), None);
        assert_eq!(SlotMap::parse(&Value::Nil, &at("me", 9)), None);
        assert_eq!(SlotMap::empty().owner(7), None);
    }

    #[test]
    fn a_moved_slot_changes_one_owner() {
        let before = map();
        let after = before.with_moved(8001, &at("c", 3));
        assert_eq!(after.owner(8001), Some(&at("c", 3)));
        assert_eq!(after.owner(8000), Some(&at("me", 2)));
        assert!(!after.same_owners(&before) && after.with_moved(8001, &at("me", 2)).same_owners(&before));
        assert!(SlotMap::empty().with_moved(3, &at("x", 1)).owner(3) == Some(&at("x", 1)));
    }

    #[test]
    fn a_tag_beside_a_key_is_of_the_same_primary() {
        let map = map();
        for key in ["wsc:{u:alice}:conn", "wsc:{u:bob}:conn", "wsc:nodes", "a", "b", "c"] {
            let tag = map.tag_beside(key.as_bytes()).unwrap();
            assert!(map.tags().contains(&tag), "{tag}");
            let beside = format!("wsc:registry:{{{tag}}}");
            assert_eq!(map.owner(slot_of(beside.as_bytes())), map.owner(slot_of(key.as_bytes())), "{key}");
        }
        assert_eq!(SlotMap::empty().tag_beside(b"a"), None);
    }

    #[test]
    fn commands_are_routed_by_their_key() {
        let mut script = redis::cmd("EVALSHA");
        script.arg("hash").arg(2).arg("k1").arg("k2").arg("v");
        assert_eq!(key_of(&script), Some(&b"k1"[..]));
        let mut get = redis::cmd("GET");
        get.arg("k");
        assert_eq!(key_of(&get), Some(&b"k"[..]));
        for (words, key) in [
            ("MEMORY USAGE k", "k"),
            ("XREADGROUP GROUP g me COUNT 5 STREAMS k >", "k"),
            ("XGROUP CREATE k g $", "k"),
            ("XADD k * a b", "k"),
        ] {
            let mut words = words.split(' ');
            let mut command = redis::cmd(words.next().unwrap());
            command.arg(words.collect::<Vec<_>>());
            assert_eq!(key_of(&command), Some(key.as_bytes()));
        }
        let mut load = redis::cmd("SCRIPT");
        load.arg("LOAD").arg("return 1");
        assert_eq!((key_of(&load), key_of(&redis::cmd("PING"))), (None, None));
    }

    #[test]
    fn redirections_are_read() {
        let answered = at("me", 9);
        let error =
            |line: &str| redis::parse_redis_value(line.as_bytes()).unwrap().extract_error().unwrap_err();
        for (line, expected) in [
            ("-MOVED 3999 127.0.0.1:6381\r\n", Some(Redirection::Moved(3999, at("127.0.0.1", 6381)))),
            ("-MOVED 3999 :6381\r\n", Some(Redirection::Moved(3999, at("me", 6381)))),
            ("-ASK 3999 ::1:6381\r\n", Some(Redirection::Ask(at("::1", 6381)))),
            ("-CLUSTERDOWN The cluster is down\r\n", None),
            ("-MOVED 3999 nowhere\r\n", None),
        ] {
            assert_eq!(Redirection::of(&error(line), &answered), expected, "{line}");
        }
    }
}
