//! What a client sends: one JSON object per text frame.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    ack_token::{AckToken, ForeignToken},
    error_code::ErrorCode,
    inbox_offset::{BadOffset, Offset},
    message::{Message, RawMessage},
};
use crate::identity::{GroupName, MessageId, UserId};

/// The receiver that stands for the backend. No user has this name.
pub const BACKEND: &str = "@backend";

/// A frame that can be acted on.
#[derive(Debug, Clone)]
pub enum ClientFrame {
    /// Asks for a `pong`.
    Ping {
        /// Returned in the `pong`.
        message_id: Option<MessageId>,
    },
    /// A message for another user.
    Message(Box<ClientMessage>),
    /// A message for a group.
    GroupMessage(Box<GroupMessage>),
    /// A message for the backend itself.
    BackendMessage(Box<Message>),
    /// The client wants to be a member of a group, or no longer.
    Membership(MembershipWish),
    /// The client has all stored messages up to here.
    Ack(AckFrame),
    /// The client has a message whose sender waits for its word.
    Word {
        /// Returned in the answer, which comes only when something is wrong.
        message_id: Option<MessageId>,
        /// Which message.
        token: AckToken,
    },
    /// A new token for the connection.
    Auth {
        /// Returned in the answer.
        message_id: Option<MessageId>,
        /// Not verified yet.
        token: NewToken,
    },
}

/// The client has all stored messages up to an offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AckFrame {
    /// Up to and with this.
    pub offset: Offset,
    /// Returned in the `error`, if there is one.
    pub message_id: Option<MessageId>,
}

/// A token as a client sent it. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(expecting = "an object with a token")]
pub struct NewToken {
    /// The token itself.
    pub token: String,
}

impl std::fmt::Debug for NewToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NewToken")
    }
}

/// A message for the members of a group.
#[derive(Debug, Clone)]
pub struct GroupMessage {
    /// For which group.
    pub group: GroupName,
    /// What.
    pub message: Message,
}

/// A wish to join or leave a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembershipWish {
    /// Whether to join; else to leave.
    pub joins: bool,
    /// Which group.
    pub group: GroupName,
    /// Returned in the `result`.
    pub message_id: Option<MessageId>,
}

/// A message for another user. Its `sender` field, if any, is ignored: the hub knows who speaks.
#[derive(Debug, Clone)]
pub struct ClientMessage {
    /// For whom.
    pub receiver: UserId,
    /// What.
    pub message: Message,
}

/// A frame that cannot be acted on; the connection goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct BadFrame {
    /// The stable word.
    pub code: ErrorCode,
    /// What to change; a JSON error names line and column.
    pub detail: String,
    /// The frame's own id, where it could be read.
    pub message_id: Option<MessageId>,
}

/// Reads one frame.
///
/// # Errors
/// [`BadFrame`] with the code and sentence to answer.
pub fn parse(text: &str) -> Result<ClientFrame, BadFrame> {
    let raw: RawFields = fields(text)?;
    let message_id = raw.message_id.as_deref().and_then(|id| MessageId::new(id).ok());
    let bad = |code, detail: String| BadFrame { code, detail, message_id: message_id.clone() };
    let bad_request = |detail: String| bad(ErrorCode::BadRequest, detail);

    let RawFields { message_type, message_id: raw_id, content, data, receiver, group, store, offset, ack } =
        raw;
    let (message_type, raw_id) = (message_type.map(Cow::Owned), raw_id.map(Cow::Owned));
    let message =
        RawMessage { message_type, message_id: raw_id, content, data }.check().map_err(bad_request)?;
    match message.message_type.as_str() {
        "ping" => return Ok(ClientFrame::Ping { message_id: message.message_id }),
        word @ ("join" | "leave") => {
            let group = group.ok_or_else(|| bad_request("the group is missing".to_owned()))?;
            let group = GroupName::new(&group).map_err(|e| bad_request(e.to_string()))?;
            let (joins, message_id) = (word == "join", message.message_id);
            return Ok(ClientFrame::Membership(MembershipWish { joins, group, message_id }));
        }
        "auth" => {
            // The reader's own sentence could repeat the token.
            let data = message.data.as_deref().map_or("", RawValue::get);
            let token = data.starts_with('{').then(|| serde_json::from_str(data).ok()).flatten();
            let needed = || bad_request(r#"auth needs its token as data: {"token": ".."}"#.to_owned());
            return Ok(ClientFrame::Auth {
                message_id: message.message_id,
                token: token.ok_or_else(needed)?,
            });
        }
        "ack" => {
            let offset = match (offset, ack) {
                (Some(offset), None) => offset,
                (None, Some(token)) => {
                    let token =
                        token.parse().map_err(|error: ForeignToken| bad_request(error.to_string()))?;
                    return Ok(ClientFrame::Word { message_id: message.message_id, token });
                }
                (None, None) => {
                    return Err(bad_request("an ack needs an offset, or the ack of a message".to_owned()));
                }
                (Some(_), Some(_)) => {
                    return Err(bad_request("give an offset or an ack, not both".to_owned()));
                }
            };
            let offset = offset.parse().map_err(|error: BadOffset| bad_request(error.to_string()))?;
            return Ok(ClientFrame::Ack(AckFrame { offset, message_id: message.message_id }));
        }
        word if message.message_type.is_reserved() => {
            return Err(bad(
                ErrorCode::NotPermitted,
                format!("message_type {word:?} is reserved for the hub"),
            ));
        }
        _ => {}
    }
    if store.is_some_and(|store| store.get() != "null" && store.get() != "false") {
        return Err(bad(ErrorCode::NotPermitted, "clients cannot ask for store".to_owned()));
    }
    let receiver = match (receiver, group) {
        (Some(_), Some(_)) => return Err(bad_request("give a receiver or a group, not both".to_owned())),
        (None, Some(group)) => {
            let group = GroupName::new(&group).map_err(|e| bad_request(e.to_string()))?;
            return Ok(ClientFrame::GroupMessage(Box::new(GroupMessage { group, message })));
        }
        (None, None) => {
            return Err(bad_request("the receiver is missing, and there is no group either".to_owned()));
        }
        (Some(receiver), None) if receiver == BACKEND => {
            return Ok(ClientFrame::BackendMessage(Box::new(message)));
        }
        (Some(receiver), None) => {
            UserId::new(&receiver).map_err(|e| bad(ErrorCode::InvalidUserId, format!("receiver: {e}")))?
        }
    };
    Ok(ClientFrame::Message(Box::new(ClientMessage { receiver, message })))
}

fn fields(text: &str) -> Result<RawFields, BadFrame> {
    let bad = |why: &str, message_id| BadFrame {
        code: ErrorCode::BadRequest,
        detail: format!("the frame is not a JSON object of the documented form: {why}"),
        message_id,
    };
    // An array would be taken for the fields in their order.
    if text.trim_start().starts_with('[') {
        return Err(bad("it is an array", None));
    }
    serde_json::from_str(text).map_err(|error| {
        // A field of the wrong kind does not hide whose answer this is.
        let own_id =
            serde_json::from_str::<OwnId>(text).ok().and_then(|own| MessageId::new(&own.message_id).ok());
        bad(&error.to_string(), own_id)
    })
}

/// What is still read of a frame whose other fields cannot be.
#[derive(Deserialize)]
struct OwnId {
    message_id: String,
}

/// The fields of a frame, in whatever order; unknown ones are ignored.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct RawFields {
    message_type: Option<String>,
    message_id: Option<String>,
    content: Option<Box<RawValue>>,
    data: Option<Box<RawValue>>,
    receiver: Option<String>,
    group: Option<String>,
    store: Option<Box<RawValue>>,
    offset: Option<String>,
    ack: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_and_its_payload_kept_as_written() {
        let text = r#"{"message_type":"text","receiver":"bob","content":"h\u00fc","data":{"a": 1},"message_id":"m1","sender":"eve"}"#;
        let ClientFrame::Message(frame) = parse(text).unwrap() else { unreachable!() };
        assert_eq!(frame.receiver.as_str(), "bob");
        assert_eq!(frame.message.content.unwrap().get(), r#""h\u00fc""#);
        assert_eq!(frame.message.data.unwrap().get(), r#"{"a": 1}"#);
        let ClientFrame::GroupMessage(frame) = parse(r#"{"group":"@all:1","content":"hi"}"#).unwrap() else {
            unreachable!()
        };
        assert_eq!(frame.group.as_str(), "@all:1");
        assert_eq!(frame.message.content.unwrap().get(), r#""hi""#);
        let ClientFrame::BackendMessage(message) =
            parse(r#"{"receiver":"@backend","content":"hi","message_id":"m1"}"#).unwrap()
        else {
            unreachable!()
        };
        assert_eq!(message.content.unwrap().get(), r#""hi""#);
        for (word, joins) in [("join", true), ("leave", false)] {
            let text = format!(r#"{{"message_type":"{word}","group":"room","message_id":"j1"}}"#);
            let ClientFrame::Membership(wish) = parse(&text).unwrap() else { unreachable!() };
            assert_eq!((wish.joins, wish.group.as_str()), (joins, "room"));
            assert_eq!(wish.message_id, Some(MessageId::new("j1").unwrap()));
        }
        assert!(matches!(parse(r#"{"message_type":"ping"}"#), Ok(ClientFrame::Ping { message_id: None })));
    }

    #[test]
    fn a_new_token_is_read_and_never_shown() {
        let frame =
            parse(r#"{"message_type":"auth","message_id":"a1","data":{"token":"e.y.j","x":1}}"#).unwrap();
        assert!(!format!("{frame:?}").contains("e.y.j"));
        let ClientFrame::Auth { message_id, token } = frame else { unreachable!() };
        assert_eq!((message_id.unwrap().as_str(), token.token.as_str()), ("a1", "e.y.j"));
        for data in [r#""e.y.j""#, r#"["e.y.j"]"#, r#"{"token":["e.y.j"]}"#, r#"{"jwt":"e.y.j"}"#, "null"] {
            let bad =
                parse(&format!(r#"{{"message_type":"auth","message_id":"a1","data":{data}}}"#)).unwrap_err();
            assert!(bad.detail.starts_with("auth needs its token"), "{data}: {bad}");
            assert!(bad.message_id.is_some() && !bad.detail.contains("e.y.j"), "{data}: {bad}");
        }
    }

    #[test]
    fn bad_frames_name_code_and_fault() {
        use ErrorCode::{BadRequest, InvalidUserId, NotPermitted};
        let cases = [
            ("", BadRequest, "the frame is not a JSON object of the documented form: EOF"),
            ("[1]", BadRequest, "the frame is not"),
            (
                "7",
                BadRequest,
                "the frame is not a JSON object of the documented form: invalid type: integer `7`, expected an object",
            ),
            (
                r#" ["ping","p1",null,null,null,null,null,null,null]"#,
                BadRequest,
                "the frame is not a JSON object of the documented form: it is an array",
            ),
            (r#"{"receiver":"b","content":"\ud800"}"#, BadRequest, "content holds half of a surrogate pair"),
            ("{\"receiver\":", BadRequest, "the frame is not"),
            ("{\"receiver\":5}", BadRequest, "the frame is not"),
            ("{}", BadRequest, "the receiver is missing"),
            ("{\"receiver\":\"a b\"}", InvalidUserId, "receiver: user id contains ' '"),
            ("{\"receiver\":\"@backend\",\"group\":\"g\"}", BadRequest, "give a receiver or a group"),
            ("{\"receiver\":\"@backend\",\"store\":true}", NotPermitted, "clients cannot ask for store"),
            ("{\"receiver\":\"@backends\"}", InvalidUserId, "receiver: user id must not begin"),
            ("{\"receiver\":\"@x\"}", InvalidUserId, "receiver: user id must not begin"),
            ("{\"group\":\"g g\"}", BadRequest, "group contains ' '"),
            ("{\"group\":\"\"}", BadRequest, "group must not be empty"),
            ("{\"group\":\"g\",\"receiver\":\"b\"}", BadRequest, "give a receiver or a group"),
            ("{\"receiver\":\"b\",\"content\":{}}", BadRequest, "content must be a string"),
            ("{\"receiver\":\"b\",\"store\":true}", NotPermitted, "clients cannot ask for store"),
            (
                "{\"message_type\":\"kick_out\",\"receiver\":\"b\"}",
                NotPermitted,
                "message_type \"kick_out\" is reserved",
            ),
            ("{\"message_type\":\"ack\"}", BadRequest, "an ack needs an offset, or the ack"),
            ("{\"message_type\":\"ack\",\"offset\":\"e1\"}", BadRequest, "an offset looks like"),
            (
                "{\"message_type\":\"ack\",\"offset\":\"e1:1-0\",\"ack\":\"t9\"}",
                BadRequest,
                "give an offset or an ack",
            ),
            ("{\"message_type\":\"ack\",\"ack\":\"t9\"}", BadRequest, "ack is not a token that came"),
            ("{\"message_type\":\"join\"}", BadRequest, "the group is missing"),
            ("{\"message_type\":\"leave\",\"group\":\"a}b\"}", BadRequest, "group contains '}'"),
            ("{\"message_type\":\"join\",\"group\":[\"g\"]}", BadRequest, "the frame is not"),
            ("{\"message_type\":\"No Type\",\"receiver\":\"b\"}", BadRequest, "message_type contains 'N'"),
        ];
        for (text, code, why) in cases {
            let error = parse(text).unwrap_err();
            assert_eq!(error.code, code, "{text}");
            assert!(error.detail.starts_with(why), "{text}: {}", error.detail);
        }
        for text in [r#"{"message_id":"m9"}"#, r#"{"receiver":5,"message_id":"m9"}"#] {
            assert_eq!(parse(text).unwrap_err().message_id, Some(MessageId::new("m9").unwrap()), "{text}");
        }
        assert_eq!(parse(r#"{"message_id":9}"#).unwrap_err().message_id, None);
    }
}
