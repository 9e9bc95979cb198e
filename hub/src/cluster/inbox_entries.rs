//! What XRANGE says of an inbox. Its parts are taken out of the answer rather than copied: a replay reads thousands.

use redis::Value;

use crate::protocol::inbox_offset::{BadOffset, EntryId};

/// A stored message as Redis has it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StoredEntry {
    pub(super) id: EntryId,
    /// Where the one before it stood.
    pub(super) prev: EntryId,
    /// When its own time is over, in ms since the epoch.
    pub(super) until: u64,
    pub(super) frame: Vec<u8>,
}

/// Reads an answer of XRANGE. Fields that are not known are passed over.
///
/// # Errors
/// [`BadOffset`]: this is no stream of stored messages.
pub(super) fn stored_entries(answer: Value) -> Result<Vec<StoredEntry>, BadOffset> {
    let Value::Array(entries) = answer else { return Err(BadOffset) };
    entries.into_iter().map(entry).collect()
}

fn entry(entry: Value) -> Result<StoredEntry, BadOffset> {
    let Value::Array(parts) = entry else { return Err(BadOffset) };
    let mut parts = parts.into_iter();
    let (Some(Value::BulkString(id)), Some(Value::Array(fields))) = (parts.next(), parts.next()) else {
        return Err(BadOffset);
    };
    let mut entry =
        StoredEntry { id: text(&id)?.parse()?, prev: EntryId::START, until: u64::MAX, frame: Vec::new() };
    let mut fields = fields.into_iter();
    while let (Some(Value::BulkString(name)), Some(Value::BulkString(value))) = (fields.next(), fields.next())
    {
        match name.as_slice() {
            b"p" => entry.prev = text(&value)?.parse()?,
            b"x" => entry.until = text(&value)?.parse().map_err(|_| BadOffset)?,
            b"f" => entry.frame = value,
            _ => {}
        }
    }
    Ok(entry)
}

fn text(bytes: &[u8]) -> Result<&str, BadOffset> {
    std::str::from_utf8(bytes).map_err(|_| BadOffset)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn answer(id: &str, fields: &[&str]) -> Value {
        let fields = fields.iter().map(|text| bulk(text)).collect();
        Value::Array(vec![Value::Array(vec![bulk(id), Value::Array(fields)])])
    }

    #[test]
    fn an_entry_is_read_whatever_else_it_has() {
        let read = stored_entries(answer("9-1", &["f", "{}", "new", "?", "p", "8-0", "x", "77"])).unwrap();
        let expected = StoredEntry {
            id: EntryId { ms: 9, seq: 1 },
            prev: EntryId { ms: 8, seq: 0 },
            until: 77,
            frame: b"{}".to_vec(),
        };
        assert_eq!(read, [expected]);
        let read = stored_entries(answer("9-1", &["f", "{}"])).unwrap();
        assert_eq!((read[0].prev, read[0].until), (EntryId::START, u64::MAX));
        assert_eq!(stored_entries(Value::Array(Vec::new())), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_inbox_is_refused() {
        let cases = [
            Value::Nil,
            Value::Array(vec![Value::Nil]),
            Value::Array(vec![Value::Array(vec![bulk("9-1")])]),
            answer("nine", &[]),
            answer("9-1", &["p", "eight"]),
            answer("9-1", &["x", "soon"]),
        ];
        for case in cases {
            assert_eq!(stored_entries(case.clone()), Err(BadOffset), "{case:?}");
        }
    }
}
