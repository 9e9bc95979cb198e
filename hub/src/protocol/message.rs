//! A message as a caller writes it, in a client frame or an API body.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{error_code::ErrorCode, json_text::has_lone_surrogate};
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
    fn new(detail: impl Into<String>) -> Self {
        Self { code: ErrorCode::BadRequest, detail: detail.into() }
    }
}

/// What the caller of a send waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wait {
    /// Nothing: answered as soon as the message is on its way.
    None,
    /// The kernel buffers of the receiver's connections.
    #[default]
    Delivered,
}

/// How a message is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendOptions {
    /// What to wait for.
    pub wait: Wait,
    /// How long to wait and retry: 1 ms to 60 s, default 5 s.
    pub timeout: Duration,
    /// Repeats after a first try without success: 0 to 10, default 3.
    pub max_retries: u32,
}

impl Default for SendOptions {
    fn default() -> Self {
        Self { wait: Wait::default(), timeout: Duration::from_secs(5), max_retries: 3 }
    }
}

/// A wish to close a user's connections.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KickRequest {
    /// Why; in the close frame and the notice. At most 1,024 bytes.
    pub reason: String,
    /// Whether a `kick_out` frame comes before the close.
    pub notify: bool,
    /// Text of the notice for people. At most 4,096 bytes.
    pub message: String,
}

/// The fields that a message shares between frames and bodies. Unknown fields are ignored.
#[derive(Deserialize)]
pub(super) struct RawMessage {
    #[serde(default)]
    pub(super) message_type: Option<String>,
    #[serde(default)]
    pub(super) message_id: Option<String>,
    #[serde(default)]
    pub(super) content: Option<Box<RawValue>>,
    #[serde(default)]
    pub(super) data: Option<Box<RawValue>>,
}

impl RawMessage {
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

    fn refuse_unbuilt(&self, fields: &[&str]) -> Result<(), BadBody> {
        match fields.iter().find(|field| self.0.get(**field).is_some_and(|raw| raw.get() != "null")) {
            Some(field) => {
                Err(BadBody::new(format!("{field} is not built yet in this release, leave it out")))
            }
            None => Ok(()),
        }
    }

    fn message(&mut self) -> Result<Message, BadBody> {
        let raw = RawMessage {
            message_type: self.take("message_type", "a string")?,
            message_id: self.take("message_id", "a string")?,
            content: self.0.remove("content"),
            data: self.0.remove("data"),
        };
        let message = raw.check().map_err(BadBody::new)?;
        if message.message_type.is_reserved() {
            return Err(BadBody::new(format!(
                "message_type {:?} is reserved for the hub",
                message.message_type.as_str()
            )));
        }
        Ok(message)
    }

    fn options(&mut self) -> Result<SendOptions, BadBody> {
        let Some(raw) = self.0.remove("options").filter(|raw| raw.get() != "null") else {
            return Ok(SendOptions::default());
        };
        let mut body = Self::parse(raw.get().as_bytes())
            .map_err(|_| BadBody::new(format!("options must be an object, found {}", excerpt(raw.get()))))?;
        if body.take::<bool>("store", "true or false")? == Some(true) {
            return Err(BadBody::new("options.store is not built yet in this release, leave it out"));
        }
        body.refuse_unbuilt(&["ttl_seconds"])?;
        let defaults = SendOptions::default();
        let wait = match body.take::<String>("wait", "a string")?.as_deref() {
            None => defaults.wait,
            Some("none") => Wait::None,
            Some("delivered") => Wait::Delivered,
            Some("acked") => {
                return Err(BadBody::new(
                    "options.wait \"acked\" is not built yet in this release, use \"delivered\"",
                ));
            }
            Some(other) => {
                return Err(BadBody::new(format!(
                    "options.wait must be \"none\" or \"delivered\", found {other:?}"
                )));
            }
        };
        let timeout = match body
            .take::<u64>("timeout_ms", "a whole number of milliseconds from 1 to 60000")?
        {
            None => defaults.timeout,
            Some(ms @ 1..=60_000) => Duration::from_millis(ms),
            Some(ms) => {
                return Err(BadBody::new(format!("options.timeout_ms must be from 1 to 60000, found {ms}")));
            }
        };
        let max_retries = match body.take::<u32>("max_retries", "a whole number from 0 to 10")? {
            None => defaults.max_retries,
            Some(n @ 0..=10) => n,
            Some(n) => {
                return Err(BadBody::new(format!("options.max_retries must be from 0 to 10, found {n}")));
            }
        };
        Ok(SendOptions { wait, timeout, max_retries })
    }
}

/// The beginning of a JSON text, for error sentences.
fn excerpt(text: &str) -> String {
    let mut end = text.len().min(40);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    if end < text.len() { format!("{}..", &text[..end]) } else { text.to_owned() }
}

/// Reads the body of `POST /v1/users/{user}/messages`.
///
/// # Errors
/// [`BadBody`] naming the first field that is wrong.
pub fn parse_send(body: &[u8]) -> Result<(Message, SendOptions), BadBody> {
    let mut body = Body::parse(body)?;
    Ok((body.message()?, body.options()?))
}

/// Reads the body of `POST /v1/broadcast`.
///
/// # Errors
/// [`BadBody`] naming the first field that is wrong.
pub fn parse_broadcast(body: &[u8]) -> Result<(Message, SendOptions), BadBody> {
    let mut body = Body::parse(body)?;
    body.refuse_unbuilt(&["exclude_users"])?;
    Ok((body.message()?, body.options()?))
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
    body.refuse_unbuilt(&["ban_seconds"])?;
    let mut text = |field: &'static str, max: usize| -> Result<String, BadBody> {
        let text: String = body.take(field, "a string")?.unwrap_or_default();
        if text.len() > max {
            return Err(BadBody::new(format!("{field} has {} bytes, at most {max} are allowed", text.len())));
        }
        Ok(text)
    };
    let (reason, message) = (text("reason", 1024)?, text("message", 4096)?);
    let notify = body.take("notify", "true or false")?.unwrap_or(false);
    Ok(KickRequest { reason, notify, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_read_with_defaults_and_unknown_fields_are_ignored() {
        let (message, options) = parse_send(br#"{"content":"hi","data":{"a":[1]},"color":"red"}"#).unwrap();
        assert_eq!(message.message_type.as_str(), "text");
        assert_eq!(message.content.unwrap().get(), "\"hi\"");
        assert_eq!(message.data.unwrap().get(), "{\"a\":[1]}");
        assert_eq!(options, SendOptions::default());
    }

    #[test]
    fn every_wrong_field_is_named() {
        let cases = [
            ("", "the body is empty"),
            ("[]", "the body is not a JSON object"),
            ("{\"content\":", "the body is not a JSON object"),
            ("{\"content\":7}", "content must be a string"),
            ("{\"content\":\"\\ud800\"}", "content holds half of a surrogate pair"),
            ("{\"data\":[\"\\udc00\"]}", "data holds half of a surrogate pair"),
            ("{\"message_id\":\"a b\"}", "message_id contains ' '"),
            ("{\"message_type\":\"welcome\"}", "message_type \"welcome\" is reserved"),
            ("{\"message_type\":\"TEXT\"}", "message_type contains 'T'"),
            ("{\"message_type\":5}", "message_type must be a string, found 5"),
            ("{\"options\":5}", "options must be an object, found 5"),
            ("{\"options\":{\"wait\":\"soon\"}}", "options.wait must be"),
            ("{\"options\":{\"wait\":\"acked\"}}", "options.wait \"acked\" is not built yet"),
            ("{\"options\":{\"store\":true}}", "options.store is not built yet"),
            ("{\"options\":{\"ttl_seconds\":5}}", "ttl_seconds is not built yet"),
            ("{\"options\":{\"timeout_ms\":0}}", "options.timeout_ms must be from 1 to 60000"),
            ("{\"options\":{\"timeout_ms\":-1}}", "timeout_ms must be a whole number"),
            ("{\"options\":{\"max_retries\":99}}", "options.max_retries must be from 0 to 10"),
        ];
        for (body, why) in cases {
            let error = parse_send(body.as_bytes()).unwrap_err();
            assert!(error.detail.starts_with(why), "{body}: {}", error.detail);
        }
        assert!(parse_broadcast(b"{\"exclude_users\":[\"a\"]}").is_err());
        assert!(parse_kick(b"{\"ban_seconds\":5}").is_err());
        assert_eq!(parse_kick(b"").unwrap(), KickRequest::default());
    }
}
