//! What the backend may want to hear: one JSON object per event.

use serde::Serialize;
use serde_json::value::RawValue;

use super::message::Message;
use crate::identity::{ConnectionId, MessageId, NodeId, UserId};

/// What happened. The words are those of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// A connection was welcomed.
    Connected,
    /// A connection ended.
    Disconnected,
    /// A user without connections got the first.
    Online,
    /// A user lost the last connection.
    Offline,
    /// A client sent a message to `@backend`.
    Message,
}

/// What a client sent to `@backend`.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct EventMessage {
    /// The hub's id, a ULID.
    pub id: String,
    /// Who sent it: the authenticated user, whatever the client wrote.
    pub sender: UserId,
    /// What the sender calls it.
    pub message_type: String,
    /// The sender's own id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<MessageId>,
    /// As the sender wrote it: a JSON string.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub content: Option<Box<RawValue>>,
    /// Any JSON, as the sender wrote it but on one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub data: Option<Box<RawValue>>,
}

impl EventMessage {
    /// The message under the hub's id.
    #[must_use]
    pub fn new(id: String, sender: &UserId, message: &Message) -> Self {
        Self {
            id,
            sender: sender.clone(),
            message_type: message.message_type.as_str().to_owned(),
            message_id: message.message_id.clone(),
            content: message.content.clone(),
            data: message.data.as_deref().map(on_one_line),
        }
    }
}

/// Events are lines. In valid JSON an end of line stands between tokens only, where a space does as well.
fn on_one_line(json: &RawValue) -> Box<RawValue> {
    let text = json.get();
    if !text.contains(['\n', '\r']) {
        return json.to_owned();
    }
    RawValue::from_string(text.replace(['\n', '\r'], " ")).unwrap_or_else(|_| json.to_owned())
}

/// One event. It may be told more than once, always under the same `event_id`.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Event {
    /// Names the event: the kind and what makes it unique.
    pub event_id: String,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// Whose connection, or who sent.
    pub user_id: UserId,
    /// The node where it happened.
    pub node_id: NodeId,
    /// Which connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_id: Option<ConnectionId>,
    /// When, RFC 3339 with milliseconds, by the clock of the node that says it.
    pub at: String,
    /// Why a connection ended: a word of bounded choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// What a client sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<EventMessage>,
}

impl Event {
    fn new(kind: EventKind, event_id: String, user: &UserId, node: &NodeId, at: String) -> Self {
        let (user_id, node_id) = (user.clone(), node.clone());
        Self { event_id, kind, user_id, node_id, connection_id: None, at, reason: None, message: None }
    }

    /// A connection was welcomed.
    #[must_use]
    pub fn connected(user: &UserId, connection: ConnectionId, node: &NodeId, at: String) -> Self {
        let event = Self::new(EventKind::Connected, format!("connected:{connection}"), user, node, at);
        Self { connection_id: Some(connection), ..event }
    }

    /// A connection ended, for a reason from [`super::close_reason::CloseReason::label`] or a word of the session's.
    #[must_use]
    pub fn disconnected(
        user: &UserId,
        connection: ConnectionId,
        node: &NodeId,
        at: String,
        reason: &'static str,
    ) -> Self {
        let event = Self::new(EventKind::Disconnected, format!("disconnected:{connection}"), user, node, at);
        Self { connection_id: Some(connection), reason: Some(reason), ..event }
    }

    /// A user without connections got the first; `ver` is the version of the user's entry that says so.
    #[must_use]
    pub fn online(user: &UserId, ver: u64, node: &NodeId, at: String) -> Self {
        Self::new(EventKind::Online, format!("online:{user}:{ver}"), user, node, at)
    }

    /// A user lost the last connection; `ver` is the version of the user's entry that says so.
    #[must_use]
    pub fn offline(user: &UserId, ver: u64, node: &NodeId, at: String, reason: Option<&'static str>) -> Self {
        let event = Self::new(EventKind::Offline, format!("offline:{user}:{ver}"), user, node, at);
        Self { reason, ..event }
    }

    /// A client sent a message to `@backend`.
    #[must_use]
    pub fn message(
        user: &UserId,
        connection: ConnectionId,
        node: &NodeId,
        at: String,
        message: EventMessage,
    ) -> Self {
        let event = Self::new(EventKind::Message, format!("message:{}", message.id), user, node, at);
        Self { connection_id: Some(connection), message: Some(message), ..event }
    }

    /// The event as one line of JSON. Serializing cannot fail: keys are strings, raw values were JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// A place in the log of events: milliseconds and a number, compared as two numbers. The form is that of Redis
/// stream ids, `1732356000000-0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct EventPosition {
    /// Milliseconds since the epoch.
    pub ms: u64,
    /// Which of that millisecond.
    pub number: u64,
}

/// Text that names no place in the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a place in the events looks like 1732356000000-0, or is 0 for the beginning")]
pub struct BadPosition;

impl EventPosition {
    /// Before everything.
    pub const BEGINNING: Self = Self { ms: 0, number: 0 };
}

impl std::str::FromStr for EventPosition {
    type Err = BadPosition;

    fn from_str(text: &str) -> Result<Self, BadPosition> {
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            digits.parse::<u64>().ok().filter(|_| plain).ok_or(BadPosition)
        };
        match text.split_once('-') {
            Some((ms, of_ms)) => Ok(Self { ms: number(ms)?, number: number(of_ms)? }),
            None => Ok(Self { ms: number(text)?, number: 0 }),
        }
    }
}

impl std::fmt::Display for EventPosition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.ms, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_look_as_documented() {
        let (user, node) = (UserId::new("alice").unwrap(), NodeId::new("chat-0").unwrap());
        let id: ConnectionId = "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap();
        let at = || "2026-11-23T10:00:00.123Z".to_owned();
        assert_eq!(
            Event::disconnected(&user, id, &node, at(), "too_slow").to_json(),
            r#"{"event_id":"disconnected:01ARZ3NDEKTSV4RRFFQ69G5FAV","type":"disconnected","user_id":"alice","node_id":"chat-0","connection_id":"01ARZ3NDEKTSV4RRFFQ69G5FAV","at":"2026-11-23T10:00:00.123Z","reason":"too_slow"}"#
        );
        assert_eq!(
            Event::offline(&user, 17, &node, at(), None).to_json(),
            r#"{"event_id":"offline:alice:17","type":"offline","user_id":"alice","node_id":"chat-0","at":"2026-11-23T10:00:00.123Z"}"#
        );
        let message = Message {
            content: Some(RawValue::from_string(r#""h\u00fc""#.to_owned()).unwrap()),
            data: Some(RawValue::from_string("{\"a\":\r\n[1,\n\"\\n\"]}".to_owned()).unwrap()),
            ..Message::default()
        };
        let message = EventMessage::new("01X".into(), &user, &message);
        let event = Event::message(&user, id, &node, at(), message).to_json();
        assert!(event.contains(r#""event_id":"message:01X","type":"message""#), "{event}");
        assert!(
            event.ends_with(r#""message":{"id":"01X","sender":"alice","message_type":"text","content":"h\u00fc","data":{"a":  [1, "\n"]}}}"#),
            "{event}"
        );
    }

    #[test]
    fn places_are_compared_as_numbers() {
        let at = |text: &str| text.parse::<EventPosition>();
        assert_eq!(at("0"), Ok(EventPosition::BEGINNING));
        assert!(at("9-10").unwrap() > at("9-9").unwrap() && at("10-0").unwrap() > at("9-99").unwrap());
        assert_eq!(at("1732356000000-3").unwrap().to_string(), "1732356000000-3");
        for bad in ["", "-", "1-", "-1", "+1", "1-2-3", "1.5", "$", "99999999999999999999", "1- 2"] {
            assert_eq!(at(bad), Err(BadPosition), "{bad}");
        }
    }
}
