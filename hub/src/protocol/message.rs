//! A message as a caller writes it, in a client frame or an API body.

use std::{borrow::Cow, time::Duration};

use serde::Deserialize;
use serde_json::value::RawValue;

pub use super::message_batch::parse_send;
use super::{error_code::ErrorCode, json_text::has_lone_surrogate, whole_number::WholeNumber};
use crate::identity::{MessageId, MessageType};

/// What a message says. `content` and `data` are kept as the caller's JSON text: neither is parsed
/// deeper nor encoded again on the way.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// What it is; `text` when the caller says nothing.
    pub message_type: MessageType,
    /// The caller's name for it.
    pub message_id: Option<MessageId>,
    /// A JSON string, quotes included.
    pub content: Option<Box<RawValue>>,
    /// Any JSON value.
    pub data: Option<Box<RawValue>>,
}

/// What is wrong with a body: the code, and a sentence that says what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct BadBody {
    /// The stable word.
    pub code: ErrorCode,
    /// What to change.
    pub detail: String,
}

impl BadBody {
    pub(super) fn new(detail: impl Into<String>) -> Self {
        Self { code: ErrorCode::BadRequest, detail: detail.into() }
    }
}

/// What the caller of a send waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, utoipa::ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum Wait {
    /// Nothing: answered as soon as the message is on its way.
    None,
    /// The kernel buffers of the receiver's connections.
    #[default]
    Delivered,
    /// The word of a client that it has the message. Broadcasts and groups wait for the kernel buffers instead.
    Acked,
}

/// How a message is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendOptions {
    /// What to wait for.
    pub wait: Wait,
    /// How long to wait and retry: 1 ms to 60 s, default 5 s.
    pub timeout: Duration,
    /// Repeats after a first try without success: 0 to 10, default 3.
    pub max_retries: u32,
    /// Whether it is kept in the receiver's inbox first. Of account for messages to one user only.
    pub store: bool,
    /// How long it is kept at most, if not as long as others: from 1 s.
    pub ttl: Option<Duration>,
}

impl Default for SendOptions {
    fn default() -> Self {
        Self {
            wait: Wait::default(),
            timeout: Duration::from_secs(5),
            max_retries: 3,
            store: false,
            ttl: None,
        }
    }
}

/// Longest ban in seconds: ten years.
const LONGEST_BAN: u64 = 315_360_000;

/// A wish to close a user's connections.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KickRequest {
    /// Why; in the close frame and the notice. At most 1,024 characters.
    pub reason: String,
    /// Whether a `kick_out` frame comes before the close.
    pub notify: bool,
    /// Text of the notice for people. At most 4,096 characters.
    pub message: String,
    /// How long the user is kept out: 1 s to 10 years; none for no ban.
    pub ban: Option<Duration>,
}

/// The fields that a message shares between frames and bodies.
pub(super) struct RawMessage<'a> {
    pub(super) message_type: Option<Cow<'a, str>>,
    pub(super) message_id: Option<Cow<'a, str>>,
    pub(super) content: Option<Box<RawValue>>,
    pub(super) data: Option<Box<RawValue>>,
}

impl RawMessage<'_> {
    /// Validates the fields; the sentence says which one is wrong.
    pub(super) fn check(self) -> Result<Message, String> {
        let message_type = match self.message_type {
            Some(text) => MessageType::new(&text).map_err(|e| e.to_string())?,
            None => MessageType::default(),
        };
        let message_id =
            self.message_id.map(|text| MessageId::new(&text).map_err(|e| e.to_string())).transpose()?;
        let content = self.content.filter(|raw| raw.get() != "null");
        if content.as_ref().is_some_and(|raw| !raw.get().starts_with('"')) {
            return Err("content must be a string; structured values go into data".to_owned());
        }
        let data = self.data.filter(|raw| raw.get() != "null");
        for (field, raw) in [("content", &content), ("data", &data)] {
            if raw.as_ref().is_some_and(|raw| has_lone_surrogate(raw.get())) {
                return Err(format!(
                    "{field} holds half of a surrogate pair, write both or the character itself"
                ));
            }
        }
        Ok(Message { message_type, message_id, content, data })
    }
}

/// A JSON object whose fields are taken one by one.
struct Body(std::collections::HashMap<String, Box<RawValue>>);

impl Body {
    fn parse(body: &[u8]) -> Result<Self, BadBody> {
        if body.is_empty() {
            return Err(BadBody::new("the body is empty, a JSON object is expected"));
        }
        serde_json::from_slice::<std::collections::HashMap<String, Box<RawValue>>>(body)
            .map(Self)
            .map_err(|e| BadBody::new(format!("the body is not a JSON object: {e}")))
    }

    fn take<T: for<'de> Deserialize<'de>>(
        &mut self,
        field: &str,
        expected: &str,
    ) -> Result<Option<T>, BadBody> {
        match self.0.remove(field) {
            None => Ok(None),
            Some(raw) if raw.get() == "null" => Ok(None),
            Some(raw) => serde_json::from_str(raw.get()).map(Some).map_err(|_| {
                BadBody::new(format!("{field} must be {expected}, found {}", excerpt(raw.get())))
            }),
        }
    }
}

/// The beginning of a JSON text, for error sentences.
pub(super) fn excerpt(text: &str) -> String {
    let mut end = text.len().min(40);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    if end < text.len() { format!("{}..", &text[..end]) } else { text.to_owned() }
}

/// Reads the body of `POST /v1/users/{user}/kick`; an empty body is a kick without words.
///
/// # Errors
/// [`BadBody`] naming the first field that is wrong.
pub fn parse_kick(body: &[u8]) -> Result<KickRequest, BadBody> {
    if body.is_empty() {
        return Ok(KickRequest::default());
    }
    let mut body = Body::parse(body)?;
    let seconds = body.take("ban_seconds", "a whole number of seconds, 0 for no ban")?;
    let ban = match seconds.map(|WholeNumber(n)| n) {
        None | Some(0) => None,
        Some(seconds @ 1..=LONGEST_BAN) => Some(Duration::from_secs(seconds)),
        Some(seconds) => {
            return Err(BadBody::new(format!(
                "ban_seconds must be from 0 to {LONGEST_BAN}, found {seconds}"
            )));
        }
    };
    let mut text = |field: &'static str, max: usize| -> Result<String, BadBody> {
        let text: String = body.take(field, "a string")?.unwrap_or_default();
        let length = text.chars().count();
        if length > max {
            return Err(BadBody::new(format!("{field} has {length} characters, at most {max} are allowed")));
        }
        Ok(text)
    };
    let (reason, message) = (text("reason", 1024)?, text("message", 4096)?);
    let notify = body.take("notify", "true or false")?.unwrap_or(false);
    Ok(KickRequest { reason, notify, message, ban })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kick_may_have_no_words() {
        assert_eq!(parse_kick(b"{\"ban_seconds\":5}").unwrap().ban, Some(Duration::from_secs(5)));
        assert_eq!(parse_kick(b"{\"ban_seconds\":0}").unwrap().ban, None);
        for bad in ["-1", "\"5\"", "315360001", "0.5"] {
            assert!(parse_kick(format!("{{\"ban_seconds\":{bad}}}").as_bytes()).is_err(), "{bad}");
        }
        assert_eq!(parse_kick(b"").unwrap(), KickRequest::default());
    }
}
