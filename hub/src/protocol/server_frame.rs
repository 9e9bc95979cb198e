//! What the hub sends to a client: one JSON object per text frame, encoded once.

use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    ack_token::AckToken, error_code::ErrorCode, inbox_offset::Offset, message::Message, millis::whole_millis,
    send_result::SendResult, wire_frame::WireFrame,
};
use crate::identity::{ClientId, ConnectionId, GroupName, MessageId, NodeId, SessionId, UserId};

/// The first frame on every connection.
#[derive(Debug, Clone, Copy)]
pub struct Welcome<'a> {
    /// The connection's id.
    pub connection_id: ConnectionId,
    /// The device.
    pub client_id: &'a ClientId,
    /// Who the hub takes the client for.
    pub user_id: &'a UserId,
    /// The node that serves it.
    pub node_id: &'a NodeId,
    /// How often the hub pings, and the client should where it cannot see pings.
    pub ping_interval: Duration,
    /// By which the client takes up where it was, on any node; none when sessions are off.
    pub session: Option<SessionId>,
    /// Whether it did so now.
    pub resumed: bool,
}

/// Serializing these structs cannot fail: their keys are strings and no `Serialize` of theirs returns an error.
pub(super) fn encode(frame: &impl Serialize) -> WireFrame {
    WireFrame::new(serde_json::to_string(frame).unwrap_or_default())
}

/// `welcome`.
#[must_use]
pub fn welcome(welcome: &Welcome<'_>) -> WireFrame {
    #[derive(Serialize)]
    struct Frame<'a> {
        message_type: &'static str,
        connection_id: ConnectionId,
        client_id: &'a ClientId,
        user_id: &'a UserId,
        node_id: &'a NodeId,
        #[serde(skip_serializing_if = "Option::is_none")]
        session: Option<SessionId>,
        resumed: bool,
        ping_interval_ms: u64,
    }
    encode(&Frame {
        message_type: "welcome",
        connection_id: welcome.connection_id,
        client_id: welcome.client_id,
        user_id: welcome.user_id,
        node_id: welcome.node_id,
        session: welcome.session,
        resumed: welcome.resumed,
        ping_interval_ms: whole_millis(welcome.ping_interval),
    })
}

/// A message as its receivers get it.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// The hub's id, a ULID.
    pub id: &'a str,
    /// Who sent it; none for the backend.
    pub sender: Option<&'a UserId>,
    /// For whom; none for a broadcast and for a group.
    pub receiver: Option<&'a UserId>,
    /// For which group.
    pub group: Option<&'a GroupName>,
    /// When the hub accepted it, RFC 3339 with milliseconds.
    pub create_at: &'a str,
    /// What the client is to return; none when nobody waits for it.
    pub ack: Option<&'a AckToken>,
}

/// A message, `message_type` as its sender chose it.
#[must_use]
pub fn message(message: &Message, outgoing: &Outgoing<'_>) -> WireFrame {
    let names = [
        ("message_type", Some(message.message_type.as_str())),
        ("id", Some(outgoing.id)),
        ("message_id", message.message_id.as_ref().map(MessageId::as_str)),
        ("sender", outgoing.sender.map(UserId::as_str)),
        ("receiver", outgoing.receiver.map(UserId::as_str)),
        ("group", outgoing.group.map(GroupName::as_str)),
    ];
    let raws = [("content", message.content.as_deref()), ("data", message.data.as_deref())];
    let ack = outgoing.ack.map(ToString::to_string);
    plain_object(&names, &raws, &[("create_at", Some(outgoing.create_at)), ("ack", ack.as_deref())])
}

/// An object of names, JSON as its sender wrote it, and more names, in this order; what is none is left out. Names are
/// identifiers and times of this system: their grammars hold nothing that JSON would escape, so nothing is looked for.
/// This is written for every message.
fn plain_object(
    names: &[(&str, Option<&str>)],
    raws: &[(&str, Option<&RawValue>)],
    more: &[(&str, Option<&str>)],
) -> WireFrame {
    // Quotes, colon and comma.
    let room = |name: &str, value: usize| name.len() + value + 6;
    let length = names
        .iter()
        .chain(more)
        .filter_map(|(name, value)| Some(room(name, value.as_ref()?.len())))
        .sum::<usize>()
        + raws.iter().filter_map(|(name, raw)| Some(room(name, raw.as_ref()?.get().len()))).sum::<usize>()
        + 2;
    let mut json = String::with_capacity(length);
    let mut separator = '{';
    let mut key = |json: &mut String, name: &str| {
        json.push(std::mem::replace(&mut separator, ','));
        json.push('"');
        json.push_str(name);
        json.push_str("\":");
    };
    let text = |json: &mut String, value: &str| {
        json.push('"');
        json.push_str(value);
        json.push('"');
    };
    for (name, value) in names {
        if let Some(value) = value {
            key(&mut json, name);
            text(&mut json, value);
        }
    }
    for (name, raw) in raws {
        if let Some(raw) = raw {
            key(&mut json, name);
            json.push_str(raw.get());
        }
    }
    for (name, value) in more {
        if let Some(value) = value {
            key(&mut json, name);
            text(&mut json, value);
        }
    }
    json.push('}');
    WireFrame::new(json)
}

/// `pong`.
#[must_use]
pub fn pong(message_id: Option<&MessageId>) -> WireFrame {
    #[derive(Serialize)]
    struct Frame<'a> {
        message_type: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        message_id: Option<&'a MessageId>,
    }
    encode(&Frame { message_type: "pong", message_id })
}

/// `result`: what became of the client's own message.
#[must_use]
pub fn result(message_id: &MessageId, result: &SendResult) -> WireFrame {
    #[derive(Serialize)]
    struct Frame<'a> {
        message_type: &'static str,
        message_id: &'a MessageId,
        id: &'a str,
        status: &'static str,
        connections: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        duplicate: Option<bool>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'a super::send_result::SendError>,
    }
    encode(&Frame {
        message_type: "result",
        message_id,
        id: &result.id,
        status: result.status.as_str(),
        connections: result.connections,
        duplicate: result.duplicate.then_some(true),
        error: result.error.as_ref(),
    })
}

/// `result`: a new token is in force until `expires_at`, RFC 3339.
#[must_use]
pub fn renewed(message_id: &MessageId, expires_at: &str) -> WireFrame {
    #[derive(Serialize)]
    struct Data<'a> {
        expires_at: &'a str,
    }
    #[derive(Serialize)]
    struct Frame<'a> {
        message_type: &'static str,
        message_id: &'a MessageId,
        status: &'static str,
        data: Data<'a>,
    }
    encode(&Frame { message_type: "result", message_id, status: "renewed", data: Data { expires_at } })
}

/// `error`: why a frame was not acted on.
#[must_use]
pub fn error(message_id: Option<&MessageId>, code: ErrorCode, detail: &str) -> WireFrame {
    #[derive(Serialize)]
    struct Frame<'a> {
        message_type: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        message_id: Option<&'a MessageId>,
        code: ErrorCode,
        content: &'a str,
    }
    encode(&Frame { message_type: "error", message_id, code, content: detail })
}

/// `going_away`: the node closes soon, and how long to wait before connecting again.
#[must_use]
pub fn going_away(reason: &str, retry_after: Duration) -> WireFrame {
    #[derive(Serialize)]
    struct Data<'a> {
        reason: &'a str,
        retry_after_ms: u64,
    }
    #[derive(Serialize)]
    struct Frame<'a> {
        message_type: &'static str,
        data: Data<'a>,
    }
    let data = Data { reason, retry_after_ms: whole_millis(retry_after) };
    encode(&Frame { message_type: "going_away", data })
}

/// `resume_gap`: stored messages behind `from`, up to and with `to`, are lost to this device.
#[must_use]
pub fn resume_gap(from: Offset, to: Offset) -> WireFrame {
    #[derive(Serialize)]
    struct Data {
        from: String,
        to: String,
    }
    #[derive(Serialize)]
    struct Frame {
        message_type: &'static str,
        data: Data,
    }
    let data = Data { from: from.to_string(), to: to.to_string() };
    encode(&Frame { message_type: "resume_gap", data })
}

/// `resume_done`: all stored messages that the device had missed have been sent.
#[must_use]
pub fn resume_done() -> WireFrame {
    WireFrame::new(r#"{"message_type":"resume_done"}"#.to_owned())
}

/// `auth_expiring`: the token ends in that time.
#[must_use]
pub fn auth_expiring(expires_in: Duration) -> WireFrame {
    #[derive(Serialize)]
    struct Data {
        expires_in_ms: u64,
    }
    #[derive(Serialize)]
    struct Frame {
        message_type: &'static str,
        data: Data,
    }
    encode(&Frame { message_type: "auth_expiring", data: Data { expires_in_ms: whole_millis(expires_in) } })
}

/// `kick_out`: the notice before a kick's close. `banned_until`: RFC 3339.
#[must_use]
pub fn kick_out(text: &str, reason: &str, banned_until: Option<&str>) -> WireFrame {
    #[derive(Serialize)]
    struct Data<'a> {
        reason: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        banned_until: Option<&'a str>,
    }
    #[derive(Serialize)]
    struct Frame<'a> {
        message_type: &'static str,
        #[serde(skip_serializing_if = "str::is_empty")]
        content: &'a str,
        data: Data<'a>,
    }
    encode(&Frame { message_type: "kick_out", content: text, data: Data { reason, banned_until } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::message::parse_send;

    fn text(frame: &WireFrame) -> &str {
        std::str::from_utf8(frame.bytes()).unwrap()
    }

    #[test]
    fn frames_are_those_of_the_protocol() {
        let (body, _) = parse_send(br#"{"content":"hi","data":{"x": [1, 2]},"message_id":"m7"}"#).unwrap();
        let (alice, bob) = (UserId::new("alice").unwrap(), UserId::new("bob").unwrap());
        let at = "2026-11-23T10:00:00.123Z";
        let outgoing = Outgoing {
            id: "01J",
            sender: Some(&bob),
            receiver: Some(&alice),
            group: None,
            create_at: at,
            ack: None,
        };
        assert_eq!(
            text(&message(&body, &outgoing)),
            r#"{"message_type":"text","id":"01J","message_id":"m7","sender":"bob","receiver":"alice","content":"hi","data":{"x": [1, 2]},"create_at":"2026-11-23T10:00:00.123Z"}"#
        );
        assert_eq!(text(&pong(None)), r#"{"message_type":"pong"}"#);
        assert_eq!(
            text(&error(None, ErrorCode::NotPermitted, "no")),
            r#"{"message_type":"error","code":"not_permitted","content":"no"}"#
        );
        assert_eq!(
            text(&going_away("restart", Duration::from_millis(840))),
            r#"{"message_type":"going_away","data":{"reason":"restart","retry_after_ms":840}}"#
        );
        assert_eq!(
            text(&kick_out("bye", "spam", None)),
            r#"{"message_type":"kick_out","content":"bye","data":{"reason":"spam"}}"#
        );
        assert_eq!(
            text(&kick_out("", "spam", Some(at))),
            r#"{"message_type":"kick_out","data":{"reason":"spam","banned_until":"2026-11-23T10:00:00.123Z"}}"#
        );
    }
}
