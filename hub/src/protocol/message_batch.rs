//! Messages as API bodies: one for a user, one for everyone, many for many.

use std::{borrow::Cow, time::Duration};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::{
    message::{BadBody, Message, RawMessage, SendOptions, Wait, excerpt},
    whole_number::WholeNumber,
};
use crate::identity::UserId;

/// Messages in one call.
pub const MOST_MESSAGES: usize = 1000;
/// Users in one question, or left out of one broadcast.
pub const MOST_USERS: usize = 1000;

/// Longest life of a stored message in seconds: a year. The inbox's own bound is usually shorter.
const LONGEST_TTL: u64 = 31_536_000;

/// One message of a call with many.
#[derive(Debug, Clone)]
pub struct BatchEntry {
    /// For whom.
    pub receiver: UserId,
    /// What.
    pub message: Message,
    /// How.
    pub options: SendOptions,
}

/// A message for everyone.
#[derive(Debug, Clone)]
pub struct BroadcastRequest {
    /// What.
    pub message: Message,
    /// How.
    pub options: SendOptions,
    /// Users whose connections do not get it; sorted.
    pub exclude_users: Vec<UserId>,
}

/// The fields of a body, each as its JSON text; `null` is as good as nothing. Unknown fields are ignored.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, default)]
    receiver: Option<&'a RawValue>,
    #[serde(borrow, default)]
    message_type: Option<&'a RawValue>,
    #[serde(borrow, default)]
    message_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    options: Option<&'a RawValue>,
    #[serde(borrow, default)]
    exclude_users: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Options<'a> {
    #[serde(borrow, default)]
    wait: Option<&'a RawValue>,
    #[serde(borrow, default)]
    timeout_ms: Option<&'a RawValue>,
    #[serde(borrow, default)]
    max_retries: Option<&'a RawValue>,
    #[serde(borrow, default)]
    store: Option<&'a RawValue>,
    #[serde(borrow, default)]
    ttl_seconds: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Messages<'a> {
    #[serde(borrow)]
    messages: Vec<&'a RawValue>,
}

fn present(raw: Option<&RawValue>) -> Option<&RawValue> {
    raw.filter(|raw| raw.get() != "null")
}

/// A field of a type; `expected` says in words which.
fn take<T: DeserializeOwned>(
    field: &str,
    raw: Option<&RawValue>,
    expected: &str,
) -> Result<Option<T>, BadBody> {
    let Some(raw) = present(raw) else { return Ok(None) };
    let wrong = |_| BadBody::new(format!("{field} must be {expected}, found {}", excerpt(raw.get())));
    serde_json::from_str(raw.get()).map(Some).map_err(wrong)
}

/// A field that is a string.
fn take_text<'a>(field: &str, raw: Option<&'a RawValue>) -> Result<Option<Cow<'a, str>>, BadBody> {
    // A JSON string without a backslash is its own text.
    let quoted = raw.and_then(|raw| raw.get().strip_prefix('"')?.strip_suffix('"'));
    match quoted.filter(|text| !text.contains('\\')) {
        Some(text) => Ok(Some(Cow::Borrowed(text))),
        None => Ok(take::<String>(field, raw, "a string")?.map(Cow::Owned)),
    }
}

impl Fields<'_> {
    fn message(&self) -> Result<Message, BadBody> {
        let raw = RawMessage {
            message_type: take_text("message_type", self.message_type)?,
            message_id: take_text("message_id", self.message_id)?,
            content: self.content.map(ToOwned::to_owned),
            data: self.data.map(ToOwned::to_owned),
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

    fn options(&self) -> Result<SendOptions, BadBody> {
        let defaults = SendOptions::default();
        let Some(raw) = present(self.options) else { return Ok(defaults) };
        let not_an_object =
            || BadBody::new(format!("options must be an object, found {}", excerpt(raw.get())));
        if !raw.get().starts_with('{') {
            return Err(not_an_object());
        }
        let fields: Options<'_> = serde_json::from_str(raw.get()).map_err(|_| not_an_object())?;
        let store = take("options.store", fields.store, "true or false")?.unwrap_or(false);
        let expected = "a whole number of seconds";
        let ttl = match take("options.ttl_seconds", fields.ttl_seconds, expected)?.map(|WholeNumber(n)| n) {
            None => None,
            Some(_) if !store => {
                return Err(BadBody::new("options.ttl_seconds goes with options.store true only"));
            }
            Some(seconds @ 1..=LONGEST_TTL) => Some(Duration::from_secs(seconds)),
            Some(seconds) => {
                return Err(BadBody::new(format!(
                    "options.ttl_seconds must be from 1 to {LONGEST_TTL}, found {seconds}"
                )));
            }
        };
        let wait = match take::<String>("wait", fields.wait, "a string")?.as_deref() {
            None => defaults.wait,
            Some("none") => Wait::None,
            Some("delivered") => Wait::Delivered,
            Some("acked") => Wait::Acked,
            Some(other) => {
                return Err(BadBody::new(format!(
                    "options.wait must be \"none\", \"delivered\" or \"acked\", found {other:?}"
                )));
            }
        };
        let expected = "a whole number of milliseconds from 1 to 60000";
        let timeout = match take("timeout_ms", fields.timeout_ms, expected)?.map(|WholeNumber(n)| n) {
            None => defaults.timeout,
            Some(ms @ 1..=60_000) => Duration::from_millis(ms),
            Some(ms) => {
                return Err(BadBody::new(format!("options.timeout_ms must be from 1 to 60000, found {ms}")));
            }
        };
        let expected = "a whole number from 0 to 10";
        let max_retries = match take("max_retries", fields.max_retries, expected)?.map(|WholeNumber(n)| n) {
            None => defaults.max_retries,
            Some(n @ 0..=10) => u32::try_from(n).unwrap_or(10),
            Some(n) => {
                return Err(BadBody::new(format!("options.max_retries must be from 0 to 10, found {n}")));
            }
        };
        Ok(SendOptions { wait, timeout, max_retries, store, ttl })
    }

    /// The options of a message for many, which cannot be stored.
    fn options_for_many(&self) -> Result<SendOptions, BadBody> {
        let options = self.options()?;
        match options {
            SendOptions { store: true, .. } => {
                Err(BadBody::new("options.store is for messages to one user only"))
            }
            SendOptions { wait: Wait::Acked, .. } => Err(BadBody::new(
                "options.wait \"acked\" is for messages to one user only, use \"delivered\"",
            )),
            _ => Ok(options),
        }
    }

    /// The message with options that were read before.
    fn entry(&self, options: SendOptions) -> Result<BatchEntry, BadBody> {
        let receiver = take_text("receiver", self.receiver)?
            .ok_or_else(|| BadBody::new("receiver is missing, name a user"))?;
        let receiver = UserId::new(receiver).map_err(|error| BadBody::new(format!("receiver: {error}")))?;
        Ok(BatchEntry { receiver, message: self.message()?, options })
    }
}

fn object<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, BadBody> {
    if body.is_empty() {
        return Err(BadBody::new("the body is empty, a JSON object is expected"));
    }
    let text = std::str::from_utf8(body)
        .map_err(|e| BadBody::new(format!("the body is not a JSON object: it is not UTF-8 ({e})")))?;
    // A struct can be read from an array too, which is no body of this API.
    if text.trim_start().starts_with('[') {
        return Err(BadBody::new("the body is not a JSON object: it is an array"));
    }
    serde_json::from_str(text).map_err(|e| BadBody::new(format!("the body is not a JSON object: {e}")))
}

/// Reads the body of `POST /v1/users/{user}/messages`.
///
/// # Errors
/// [`BadBody`] naming the first field that is wrong.
pub fn parse_send(body: &[u8]) -> Result<(Message, SendOptions), BadBody> {
    let fields: Fields<'_> = object(body)?;
    Ok((fields.message()?, fields.options()?))
}

/// Reads the body of `POST /v1/groups/{group}/messages`.
///
/// # Errors
/// [`BadBody`] naming the first field that is wrong.
pub fn parse_group_send(body: &[u8]) -> Result<(Message, SendOptions), BadBody> {
    let fields: Fields<'_> = object(body)?;
    Ok((fields.message()?, fields.options_for_many()?))
}

/// Reads the body of `POST /v1/broadcast`.
///
/// # Errors
/// [`BadBody`] naming the first field that is wrong.
pub fn parse_broadcast(body: &[u8]) -> Result<BroadcastRequest, BadBody> {
    let fields: Fields<'_> = object(body)?;
    let exclude_users = users("exclude_users", fields.exclude_users)?.unwrap_or_default();
    Ok(BroadcastRequest { message: fields.message()?, options: fields.options_for_many()?, exclude_users })
}

/// Reads the body of `POST /v1/messages`. One bad message refuses all: nothing is sent then.
///
/// # Errors
/// [`BadBody`] naming the first message and field that is wrong.
pub fn parse_batch(body: &[u8]) -> Result<Vec<BatchEntry>, BadBody> {
    let Messages { messages } = object(body)?;
    if messages.len() > MOST_MESSAGES {
        let found = messages.len();
        return Err(BadBody::new(format!(
            "messages has {found} entries, at most {MOST_MESSAGES} are allowed"
        )));
    }
    let mut entries = Vec::with_capacity(messages.len());
    // Most calls write the same options for each.
    let mut read: Option<(Option<&str>, SendOptions)> = None;
    for (place, raw) in messages.iter().enumerate() {
        let named = |bad: BadBody| BadBody { detail: format!("messages[{place}]: {}", bad.detail), ..bad };
        let not_an_object =
            |_| BadBody::new(format!("messages[{place}] must be an object, found {}", excerpt(raw.get())));
        if !raw.get().starts_with('{') {
            return Err(not_an_object(()));
        }
        let fields: Fields<'_> =
            serde_json::from_str(raw.get()).map_err(|e| named(BadBody::new(e.to_string())))?;
        let text = fields.options.map(RawValue::get);
        let options = match read.filter(|(same, _)| *same == text) {
            Some((_, options)) => options,
            None => fields.options().map_err(named)?,
        };
        read = Some((text, options));
        entries.push(fields.entry(options).map_err(named)?);
    }
    Ok(entries)
}

/// Reads the body of `POST /v1/users/query`; each user once, sorted.
///
/// # Errors
/// [`BadBody`] saying what is wrong.
pub fn parse_query(body: &[u8]) -> Result<Vec<UserId>, BadBody> {
    #[derive(Deserialize)]
    struct Query<'a> {
        #[serde(borrow, default)]
        users: Option<&'a RawValue>,
    }
    let Query { users: raw } = object(body)?;
    users("users", raw)?.ok_or_else(|| BadBody::new("users is missing, name at most 1000"))
}

fn users(field: &str, raw: Option<&RawValue>) -> Result<Option<Vec<UserId>>, BadBody> {
    let Some(names) = take::<Vec<String>>(field, raw, "a list of user ids")? else { return Ok(None) };
    if names.len() > MOST_USERS {
        let found = names.len();
        return Err(BadBody::new(format!("{field} has {found} entries, at most {MOST_USERS} are allowed")));
    }
    let mut users = Vec::with_capacity(names.len());
    for (place, name) in names.into_iter().enumerate() {
        users.push(UserId::new(name).map_err(|e| BadBody::new(format!("{field}[{place}]: {e}")))?);
    }
    users.sort_unstable();
    users.dedup();
    Ok(Some(users))
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
            ("{\"options\":{\"store\":1}}", "options.store must be true or false"),
            ("{\"options\":{\"ttl_seconds\":5}}", "options.ttl_seconds goes with options.store"),
            ("{\"options\":{\"store\":true,\"ttl_seconds\":0}}", "options.ttl_seconds must be from 1"),
            ("{\"options\":{\"store\":true,\"ttl_seconds\":\"5\"}}", "options.ttl_seconds must be a whole"),
            ("{\"options\":{\"timeout_ms\":0}}", "options.timeout_ms must be from 1 to 60000"),
            ("{\"options\":{\"timeout_ms\":-1}}", "timeout_ms must be a whole number"),
            ("{\"options\":{\"max_retries\":99}}", "options.max_retries must be from 0 to 10"),
        ];
        for (body, why) in cases {
            let error = parse_send(body.as_bytes()).unwrap_err();
            assert!(error.detail.starts_with(why), "{body}: {}", error.detail);
        }
    }

    #[test]
    fn only_a_message_to_one_user_can_wait_for_an_ack() {
        let body = br#"{"content":"x","receiver":"a","options":{"wait":"acked"}}"#;
        assert_eq!(parse_send(body).unwrap().1.wait, Wait::Acked);
        for refused in [parse_broadcast(body).map(|_| ()), parse_group_send(body).map(|_| ())] {
            assert!(refused.unwrap_err().detail.starts_with("options.wait \"acked\" is for messages to one"));
        }
    }

    #[test]
    fn a_bad_message_among_many_is_named_by_its_place() {
        let good = r#"{"receiver":"a","content":"x"}"#;
        let cases = [
            ("{}".to_owned(), "the body is not a JSON object: missing field `messages`"),
            (r#"{"messages":5}"#.to_owned(), "the body is not a JSON object"),
            (r#"{"messages":[5]}"#.to_owned(), "messages[0] must be an object, found 5"),
            (format!(r#"{{"messages":[{good},{{}}]}}"#), "messages[1]: receiver is missing"),
            (
                format!(r#"{{"messages":[{good},{{"receiver":5}}]}}"#),
                "messages[1]: receiver must be a string",
            ),
            (
                format!(r#"{{"messages":[{good},{{"receiver":"@backend"}}]}}"#),
                "messages[1]: receiver: user id",
            ),
            (
                format!(r#"{{"messages":[{good},{good},{{"receiver":"a","options":{{"wait":1}}}}]}}"#),
                "messages[2]: wait must be a string",
            ),
            (format!(r#"{{"messages":[{}]}}"#, vec![good; 1001].join(",")), "messages has 1001 entries"),
        ];
        for (body, why) in cases {
            let error = parse_batch(body.as_bytes()).unwrap_err();
            assert!(error.detail.starts_with(why), "{}: {}", excerpt(&body), error.detail);
        }
        let body = format!(r#"{{"messages":[{}]}}"#, vec![good; 1000].join(","));
        assert_eq!(parse_batch(body.as_bytes()).unwrap().len(), 1000);
        assert!(parse_batch(br#"{"messages":[]}"#).unwrap().is_empty());
    }

    #[test]
    fn lists_of_users_are_sorted_and_each_is_there_once() {
        let names = |users: Vec<UserId>| users.iter().map(UserId::to_string).collect::<Vec<_>>();
        assert_eq!(names(parse_query(br#"{"users":["b","a","b"]}"#).unwrap()), ["a", "b"]);
        let request = parse_broadcast(br#"{"content":"x","exclude_users":["c","a"]}"#).unwrap();
        assert_eq!(names(request.exclude_users), ["a", "c"]);
        assert!(parse_broadcast(br#"{"content":"x"}"#).unwrap().exclude_users.is_empty());
        for (body, why) in [
            ("{}", "users is missing"),
            (r#"{"users":"a"}"#, "users must be a list of user ids"),
            (r#"{"users":["a","b c"]}"#, "users[1]: user id contains"),
        ] {
            let error = parse_query(body.as_bytes()).unwrap_err();
            assert!(error.detail.starts_with(why), "{body}: {}", error.detail);
        }
        let many = format!(r#"{{"users":[{}]}}"#, vec![r#""a""#; 1001].join(","));
        assert!(parse_query(many.as_bytes()).is_err());
    }
}
