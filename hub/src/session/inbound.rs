//! What one client's frames lead to.

use std::{sync::Arc, time::Instant};

use super::{
    admission::Admitted, backend_sends::BackendSends, client_groups::ClientGroups, client_sends::ClientSends,
    rate_limit::RateLimit,
};
use crate::{
    identity::MessageId,
    local::connection::Connection,
    protocol::{
        client_frame::{self, BadFrame, ClientFrame},
        close_reason::CloseReason,
        error_code::ErrorCode,
        server_frame,
    },
    routing::router::rfc3339,
    settings::Hot,
};

/// Bad frames in a row that end a connection.
const BAD_FRAMES: u32 = 10;

/// Reads one client's frames and acts on them. Answers go through the connection's queue.
pub struct Inbound {
    sends: ClientSends,
    groups: ClientGroups,
    backend: BackendSends,
    hot: Arc<Hot>,
    rate: RateLimit,
    bad_in_a_row: u32,
}

impl Inbound {
    /// Nothing read yet.
    #[must_use]
    pub fn new(sends: ClientSends, groups: ClientGroups, backend: BackendSends, hot: Arc<Hot>) -> Self {
        Self { sends, groups, backend, hot, rate: RateLimit::new(Instant::now()), bad_in_a_row: 0 }
    }

    fn within_rate(&mut self) -> bool {
        self.rate.allows(self.hot.now().limits.client_rate, Instant::now())
    }

    /// Acts on a text frame; false when it was one bad frame too many, after which nothing more is to be read.
    pub fn text(&mut self, text: &str, admitted: &mut Admitted) -> bool {
        let within_rate = self.within_rate();
        let parsed = client_frame::parse(text);
        let message_id = match &parsed {
            Ok(
                ClientFrame::Ping { message_id }
                | ClientFrame::Auth { message_id, .. }
                | ClientFrame::Word { message_id, .. },
            )
            | Err(BadFrame { message_id, .. }) => message_id.clone(),
            Ok(ClientFrame::Message(frame)) => frame.message.message_id.clone(),
            Ok(ClientFrame::GroupMessage(frame)) => frame.message.message_id.clone(),
            Ok(ClientFrame::BackendMessage(message)) => message.message_id.clone(),
            Ok(ClientFrame::Membership(wish)) => wish.message_id.clone(),
            Ok(ClientFrame::Ack(ack)) => ack.message_id.clone(),
        };
        // Before anything else of this frame, so that all that follows sees one state.
        let renewed = match &parsed {
            Ok(ClientFrame::Auth { token, .. }) if within_rate => Some(admitted.renew(&token.token)),
            _ => None,
        };
        let (connection, metrics, send_right) =
            (&admitted.connection, &admitted.edge.metrics, &admitted.send_right);
        metrics.frames_in.inc();
        metrics.bytes_in.inc_by(u64::try_from(text.len()).unwrap_or(u64::MAX));
        let error = |code: ErrorCode, detail: &str| {
            metrics.bad_frame(code.as_str());
            answer_error(connection, message_id.as_ref(), code, detail);
        };
        if !matches!(parsed, Ok(ClientFrame::Ping { .. })) {
            connection.activity.touch();
        }
        match parsed {
            Ok(_) => self.bad_in_a_row = 0,
            Err(_) => self.bad_in_a_row += 1,
        }
        match parsed {
            _ if !within_rate => error(ErrorCode::RateLimited, "too many frames, send more slowly"),
            Err(bad) => error(bad.code, &bad.detail),
            Ok(ClientFrame::Ping { message_id }) => {
                // A queue that is full or closing answers with its close.
                let _ = connection.queue.push(server_frame::pong(message_id.as_ref()), None);
            }
            Ok(ClientFrame::Word { token, .. }) => {
                if let Err(refused) = self.sends.acknowledge(token) {
                    error(refused.code(), &refused.to_string());
                }
            }
            Ok(ClientFrame::Auth { .. }) => match (renewed, &message_id) {
                (Some(Err(refusal)), _) => error(refusal.code, &refusal.detail),
                (Some(Ok(expires)), Some(message_id)) => {
                    let renewed = server_frame::renewed(message_id, &rfc3339(expires));
                    // A queue that is full or closing answers with its close.
                    let _ = connection.queue.push(renewed, None);
                }
                _ => {}
            },
            Ok(ClientFrame::Ack(ack)) => {
                let inboxes = admitted.edge.router.inboxes();
                if let Err(wrong) = inboxes.acknowledge(connection, ack.offset) {
                    error(ErrorCode::BadRequest, &wrong.to_string());
                }
            }
            Ok(ClientFrame::Message(frame)) if !send_right.covers_user(&frame.receiver) => {
                let detail = format!("sending to user:{} is not granted", frame.receiver);
                error(ErrorCode::NotPermitted, &detail);
            }
            Ok(ClientFrame::GroupMessage(frame)) => {
                if let Err(refused) = self.groups.send(*frame, send_right) {
                    error(refused.code(), &refused.to_string());
                }
            }
            Ok(ClientFrame::BackendMessage(message)) => {
                if let Err(refused) = self.backend.accept(*message, send_right) {
                    error(refused.code(), &refused.to_string());
                }
            }
            Ok(ClientFrame::Membership(wish)) => {
                if let Err(refused) = self.groups.change(wish, send_right) {
                    error(refused.code(), &refused.to_string());
                }
            }
            Ok(ClientFrame::Message(frame)) => {
                if let Err(refused) = self.sends.accept(*frame) {
                    error(refused.code(), &refused.to_string());
                }
            }
        }
        if self.bad_in_a_row >= BAD_FRAMES {
            connection.queue.close(CloseReason::TooManyBadFrames);
        }
        self.bad_in_a_row < BAD_FRAMES
    }

    /// Counts a protocol ping, which the socket answers by itself, against the rate.
    pub fn ping(&mut self, admitted: &Admitted) {
        if !self.within_rate() {
            admitted.edge.metrics.bad_frame(ErrorCode::RateLimited.as_str());
            answer_error(&admitted.connection, None, ErrorCode::RateLimited, "too many pings");
        }
    }
}

fn answer_error(connection: &Connection, message_id: Option<&MessageId>, code: ErrorCode, detail: &str) {
    // A queue that is full or closing answers with its close.
    let _ = connection.queue.push(server_frame::error(message_id, code, detail), None);
}
