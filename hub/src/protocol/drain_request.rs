//! The bodies of `POST /admin/drain` and `POST /admin/rebalance`.

use std::time::Duration;

use serde::Deserialize as _;
use serde_json::{Map, Value};

use super::{message::BadBody, whole_number::WholeNumber};
use crate::identity::{Incarnation, NodeId};

/// Most connections per second that may be asked for.
pub const FASTEST: u64 = 100_000;
/// Longest time to a deadline.
const LONGEST: u64 = 24 * 3600 * 1000;
/// Longest hint when to come back, as in the settings.
const LONGEST_HINT: u64 = 60_000;
/// Most connections of one rebalance.
const MOST_CLOSES: u64 = 1_000_000;
/// Longest id of a drain, in bytes.
const LONGEST_ID: usize = 256;

/// Which life of which node is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedNode {
    /// The node.
    pub node: NodeId,
    /// Its life.
    pub incarnation: Incarnation,
}

/// Sends all clients of a node elsewhere. What is not given is as the settings say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainRequest {
    /// The caller's name for it; the same again does not restart the clock.
    pub id: String,
    /// Who is meant; none for whoever is asked.
    pub expect: Option<ExpectedNode>,
    /// Connections closed per second, at least 1.
    pub rate_per_second: Option<u32>,
    /// When all are to be gone, counted from the start of the drain of this id; none for no deadline.
    pub deadline: Option<Duration>,
    /// Clients are told to come back after a random time up to this.
    pub retry_after_max: Option<Duration>,
}

/// Sends some clients of a node elsewhere, the most idle ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RebalanceRequest {
    /// How many connections, at least 1.
    pub close: usize,
    /// Connections closed per second, at least 1; none for what the settings say.
    pub rate_per_second: Option<u32>,
}

impl DrainRequest {
    /// A drain as the settings say.
    #[must_use]
    pub fn named(id: &str) -> Self {
        Self { id: id.to_owned(), expect: None, rate_per_second: None, deadline: None, retry_after_max: None }
    }
}

/// Reads `{id, expect: {node_id, incarnation}, rate_per_second, deadline_ms, retry_after_max_ms}`; only `id` is needed.
///
/// # Errors
/// [`BadBody`] that names the field that is wrong.
pub fn parse_drain(body: &[u8]) -> Result<DrainRequest, BadBody> {
    let body = object(body)?;
    let id = match body.get("id") {
        Some(Value::String(id)) if (1..=LONGEST_ID).contains(&id.len()) && !id.contains(char::is_control) => {
            id.clone()
        }
        _ => return Err(BadBody::new(format!("id must be a text of 1 to {LONGEST_ID} bytes"))),
    };
    let expect = match body.get("expect") {
        None | Some(Value::Null) => None,
        Some(Value::Object(expect)) => Some(expected(expect)?),
        Some(_) => return Err(BadBody::new("expect must be an object with node_id and incarnation")),
    };
    let ms = |name, least, most| Ok(number(&body, name, least, most)?.map(Duration::from_millis));
    Ok(DrainRequest {
        id,
        expect,
        rate_per_second: rate(&body)?,
        deadline: ms("deadline_ms", 1, LONGEST)?,
        retry_after_max: ms("retry_after_max_ms", 0, LONGEST_HINT)?,
    })
}

/// Reads `{close, rate_per_second}`; only `close` is needed.
///
/// # Errors
/// [`BadBody`] that names the field that is wrong.
pub fn parse_rebalance(body: &[u8]) -> Result<RebalanceRequest, BadBody> {
    let body = object(body)?;
    let close = number(&body, "close", 1, MOST_CLOSES)?
        .ok_or_else(|| BadBody::new("close is missing: how many connections are to be closed"))?;
    let close = usize::try_from(close).unwrap_or(usize::MAX);
    Ok(RebalanceRequest { close, rate_per_second: rate(&body)? })
}

fn object(body: &[u8]) -> Result<Map<String, Value>, BadBody> {
    serde_json::from_slice(body).map_err(|e| BadBody::new(format!("the body is not a JSON object: {e}")))
}

fn expected(expect: &Map<String, Value>) -> Result<ExpectedNode, BadBody> {
    let text = |name: &str| {
        let text = expect.get(name).and_then(Value::as_str);
        text.ok_or_else(|| BadBody::new(format!("expect.{name} is missing or no text")))
    };
    let bad = |name: &str, error: &dyn std::fmt::Display| BadBody::new(format!("expect.{name}: {error}"));
    Ok(ExpectedNode {
        node: NodeId::new(text("node_id")?).map_err(|error| bad("node_id", &error))?,
        incarnation: text("incarnation")?.parse().map_err(|error| bad("incarnation", &error))?,
    })
}

fn rate(body: &Map<String, Value>) -> Result<Option<u32>, BadBody> {
    let rate = number(body, "rate_per_second", 1, FASTEST)?;
    Ok(rate.map(|rate| u32::try_from(rate).unwrap_or(u32::MAX)))
}

fn number(body: &Map<String, Value>, name: &str, least: u64, most: u64) -> Result<Option<u64>, BadBody> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match WholeNumber::deserialize(value) {
            Ok(WholeNumber(number)) if (least..=most).contains(&number) => Ok(Some(number)),
            _ => Err(BadBody::new(format!(
                "{name} must be a whole number from {least} to {most}, found {value}"
            ))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_needs_an_id_and_takes_the_rest() {
        assert_eq!(parse_drain(br#"{"id":"a"}"#), Ok(DrainRequest::named("a")));
        let whole = br#"{"id":"wsc-operator/7","expect":{"node_id":"chat-0","incarnation":"k3x9.2"},
            "rate_per_second":500,"deadline_ms":60000,"retry_after_max_ms":0,"colour":"red"}"#;
        let expected = DrainRequest {
            id: "wsc-operator/7".to_owned(),
            expect: Some(ExpectedNode {
                node: NodeId::new("chat-0").unwrap(),
                incarnation: "k3x9.2".parse().unwrap(),
            }),
            rate_per_second: Some(500),
            deadline: Some(Duration::from_mins(1)),
            retry_after_max: Some(Duration::ZERO),
        };
        assert_eq!(parse_drain(whole), Ok(expected));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            ("", "the body is not"),
            ("[]", "the body is not"),
            ("{}", "id must be"),
            (r#"{"id":""}"#, "id must be"),
            (r#"{"id":7}"#, "id must be"),
            (r#"{"id":"a\n"}"#, "id must be"),
            (r#"{"id":"a","expect":"chat-0"}"#, "expect must be"),
            (r#"{"id":"a","expect":{"node_id":"chat-0"}}"#, "expect.incarnation is missing"),
            (r#"{"id":"a","expect":{"incarnation":"k.1"}}"#, "expect.node_id is missing"),
            (r#"{"id":"a","expect":{"node_id":"Chat 0","incarnation":"k.1"}}"#, "expect.node_id:"),
            (r#"{"id":"a","expect":{"node_id":"chat-0","incarnation":"K"}}"#, "expect.incarnation:"),
            (r#"{"id":"a","rate_per_second":0}"#, "rate_per_second must be a whole number from 1 to 100000"),
            (r#"{"id":"a","rate_per_second":1.5}"#, "rate_per_second must be"),
            (r#"{"id":"a","deadline_ms":-1}"#, "deadline_ms must be"),
            (r#"{"id":"a","retry_after_max_ms":60001}"#, "retry_after_max_ms must be"),
        ];
        for (body, begins) in cases {
            let bad = parse_drain(body.as_bytes()).unwrap_err();
            assert!(bad.detail.starts_with(begins), "{body}: {}", bad.detail);
        }
    }

    #[test]
    fn a_rebalance_needs_a_number() {
        let read = |body: &str| parse_rebalance(body.as_bytes());
        assert_eq!(read(r#"{"close":9}"#), Ok(RebalanceRequest { close: 9, rate_per_second: None }));
        assert_eq!(read(r#"{"close":9.0}"#), read(r#"{"close":9}"#));
        let paced = RebalanceRequest { close: 1, rate_per_second: Some(7) };
        assert_eq!(read(r#"{"close":1,"rate_per_second":7}"#), Ok(paced));
        for bad in ["{}", r#"{"close":0}"#, r#"{"close":"1"}"#, r#"{"close":1,"rate_per_second":100001}"#] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
