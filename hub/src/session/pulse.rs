//! Signs of life of one connection, written by its session and by the sweep.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
};

use crate::local::connection::Connection;

/// No time of the sweep's clock.
const NEVER: u64 = u64::MAX;
/// Pings that may go unanswered.
pub(super) const UNANSWERED: u8 = 2;

/// Signs of life of one connection. Times are milliseconds of the sweep's clock.
#[derive(Debug)]
pub struct Pulse {
    /// Whose pulse it is.
    pub connection: Arc<Connection>,
    unanswered: AtomicU8,
    ping_due: AtomicBool,
    next_ping: AtomicU64,
    /// When the token's time is over, leeway included; [`NEVER`] for a client without a token.
    token_ends: AtomicU64,
    /// The end that was announced.
    warned_of: AtomicU64,
}

/// What the sweep has to do about a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing.
    Nothing,
    /// A ping was asked of the session.
    Ping,
    /// Say that the token ends in so many milliseconds.
    TokenExpiring(u64),
    /// The token's time is over.
    TokenExpired,
    /// Too many pings unanswered.
    Silent,
}

impl Pulse {
    /// A pulse whose first ping is due at `next_ping`.
    #[must_use]
    pub fn new(connection: Arc<Connection>, next_ping: u64, token_ends: Option<u64>) -> Self {
        Self {
            connection,
            unanswered: AtomicU8::new(0),
            ping_due: AtomicBool::new(false),
            next_ping: AtomicU64::new(next_ping),
            token_ends: AtomicU64::new(token_ends.unwrap_or(NEVER)),
            warned_of: AtomicU64::new(NEVER),
        }
    }

    /// Bytes came from the client.
    pub fn heard(&self) {
        if self.unanswered.load(Ordering::Relaxed) != 0 {
            self.unanswered.store(0, Ordering::Relaxed);
        }
    }

    /// A new token is in force until `token_ends`, leeway included; its end will be announced anew.
    pub fn renew(&self, token_ends: u64) {
        self.token_ends.store(token_ends, Ordering::Release);
    }

    /// Whether a ping is to be written; asked by the session, which is woken by the next one as by a frame.
    pub fn take_ping(&self) -> bool {
        // Asked for every frame, and hardly ever so.
        self.ping_due.load(Ordering::Acquire) && self.ping_due.swap(false, Ordering::AcqRel)
    }

    /// Decides what is due at `now`. `warning`: how long before its end a token is said to expire, in milliseconds.
    pub fn check(&self, now: u64, ping_interval: u64, warning: u64) -> Due {
        let ends = self.token_ends.load(Ordering::Acquire);
        if ends != NEVER && now >= ends {
            return Due::TokenExpired;
        }
        // Whoever renews meanwhile has another end, which is announced in its own time.
        if ends != NEVER && ends - now <= warning && self.warned_of.swap(ends, Ordering::Relaxed) != ends {
            return Due::TokenExpiring(ends - now);
        }
        if now < self.next_ping.load(Ordering::Relaxed) {
            return Due::Nothing;
        }
        if self.unanswered.fetch_add(1, Ordering::Relaxed) >= UNANSWERED {
            return Due::Silent;
        }
        self.next_ping.store(now.saturating_add(ping_interval), Ordering::Relaxed);
        self.ping_due.store(true, Ordering::Release);
        self.connection.queue.nudge();
        Due::Ping
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::{
        identity::{ClientId, ConnectionId, UserId},
        local::outbound_queue::QueueLimits,
    };

    fn pulse(token_ends: Option<u64>) -> Pulse {
        let connection = Connection::new(
            ConnectionId::new(ulid::Ulid::from_parts(0, 0)),
            UserId::new("alice").unwrap(),
            ClientId::new("phone").unwrap(),
            "127.0.0.1:1".into(),
            SystemTime::UNIX_EPOCH,
            QueueLimits { bytes: 1, messages: 1 },
        );
        Pulse::new(Arc::new(connection), 100, token_ends)
    }

    #[test]
    fn two_unanswered_pings_end_it_and_any_byte_starts_anew() {
        let pulse = pulse(None);
        assert_eq!(pulse.check(99, 100, 0), Due::Nothing);
        assert!(!pulse.take_ping());
        assert_eq!(pulse.check(100, 100, 0), Due::Ping);
        assert!(pulse.take_ping() && !pulse.take_ping());
        assert_eq!(pulse.check(150, 100, 0), Due::Nothing);
        assert_eq!(pulse.check(200, 100, 0), Due::Ping);
        pulse.heard();
        assert_eq!(pulse.check(300, 100, 0), Due::Ping);
        assert_eq!(pulse.check(400, 100, 0), Due::Ping);
        assert_eq!(pulse.check(500, 100, 0), Due::Silent);
    }

    #[test]
    fn a_token_is_announced_once_then_ends() {
        let pulse = pulse(Some(80));
        assert_eq!(pulse.check(10, 100, 30), Due::Nothing);
        assert_eq!(pulse.check(55, 100, 30), Due::TokenExpiring(25));
        assert_eq!(pulse.check(60, 100, 30), Due::Nothing);
        assert_eq!(pulse.check(80, 100, 30), Due::TokenExpired);
    }

    #[test]
    fn a_renewed_token_is_announced_and_ends_in_its_own_time() {
        let pulse = pulse(Some(80));
        assert_eq!(pulse.check(55, 1000, 30), Due::TokenExpiring(25));
        pulse.renew(95);
        assert_eq!(pulse.check(60, 1000, 30), Due::Nothing);
        assert_eq!(pulse.check(90, 1000, 30), Due::TokenExpiring(5));
        pulse.renew(200);
        assert_eq!(pulse.check(99, 1000, 30), Due::Nothing);
        assert_eq!(pulse.check(170, 1000, 30), Due::TokenExpiring(30));
        assert_eq!(pulse.check(171, 1000, 30), Due::Ping);
        assert_eq!(pulse.check(200, 1000, 30), Due::TokenExpired);
    }
}
