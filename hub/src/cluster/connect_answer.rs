//! What the connect script says, read from Redis' answer.

use redis::{FromRedisValue, Value};

use super::presence_entry::parse_ban;
use crate::routing::ports::{Ban, DirectoryError};

/// What the connect script said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ConnectAnswer {
    /// Written: the whole hash, whether it changed, and whether the user was moving.
    Hash(Vec<(String, String)>, bool, bool),
    /// The user is banned.
    Banned(Ban),
    /// The token is older than this, in ms since the epoch.
    Revoked(u64),
    /// The user has as many connections as are allowed.
    TooMany,
    /// These fields seem to be too many: which of their nodes live?
    WhoLives(Vec<String>),
}

impl ConnectAnswer {
    /// Reads the answer.
    ///
    /// # Errors
    /// [`DirectoryError::Unavailable`] for an answer of another shape.
    pub(super) fn read(answer: Value) -> Result<Self, DirectoryError> {
        let mut parts = take::<Vec<Value>>(answer)?.into_iter();
        let mut next = || parts.next().unwrap_or(Value::Nil);
        Ok(match take::<u8>(next())? {
            0 => {
                let text: String = take(next())?;
                Self::Banned(parse_ban(&text, take(next())?))
            }
            1 => {
                let pairs = take(next())?;
                let changed = take::<u8>(next())? == 1;
                Self::Hash(pairs, changed, take::<u8>(next())? == 1)
            }
            2 => Self::Revoked(take(next())?),
            3 => Self::TooMany,
            5 => Self::WhoLives(take(next())?),
            other => return Err(strange(&format!("{other} first"))),
        })
    }
}

fn take<T: FromRedisValue>(value: Value) -> Result<T, DirectoryError> {
    redis::from_redis_value(value).map_err(|error| strange(&error.to_string()))
}

fn strange(what: &str) -> DirectoryError {
    DirectoryError::Unavailable(format!("other: the connect script answered: {what}"))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn every_answer_is_read_and_a_strange_one_is_an_error() {
        let until = UNIX_EPOCH + Duration::from_millis(7);
        let cases = [
            (
                vec![Value::Int(0), text(r#"{"until":7,"reason":"x"}"#), Value::Int(5)],
                ConnectAnswer::Banned(Ban { until, reason: "x".to_owned() }),
            ),
            (
                vec![Value::Int(1), Value::Array(vec![text("ver"), text("3")]), Value::Int(1), Value::Int(0)],
                ConnectAnswer::Hash(vec![("ver".to_owned(), "3".to_owned())], true, false),
            ),
            (vec![Value::Int(2), text("99")], ConnectAnswer::Revoked(99)),
            (vec![Value::Int(3)], ConnectAnswer::TooMany),
            (
                vec![Value::Int(5), Value::Array(vec![text("a#b.1/c")])],
                ConnectAnswer::WhoLives(vec!["a#b.1/c".to_owned()]),
            ),
        ];
        for (answer, expected) in cases {
            assert_eq!(ConnectAnswer::read(Value::Array(answer)), Ok(expected));
        }
        for strange in [vec![], vec![Value::Int(4)], vec![Value::Int(2), text("x")], vec![text("?")]] {
            assert!(ConnectAnswer::read(Value::Array(strange)).is_err());
        }
    }
}
