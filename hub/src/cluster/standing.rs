//! What this node currently is in the cluster, shared by everything that has to know.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant, SystemTime},
};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::registry_error::RegistryError;
#[cfg(test)]
use crate::fault::{self, Fault};
use crate::{
    identity::NodeInstance,
    routing::ports::{RedisState, Registration},
};

/// Whether the node hears its channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subscription {
    /// Both channels are subscribed.
    Up,
    /// They are not, and why.
    Down(RegistryError),
}

#[derive(Debug, Default)]
struct LeaseClock {
    /// When the last heartbeat that worked was *sent*, so that the own clock never outlives the key in Redis.
    last_good: Option<Instant>,
    /// Since when no heartbeat failed.
    steady_since: Option<Instant>,
    /// Redis was away, so for one lease others may only seem to be gone.
    cautious: bool,
}

/// The node's registration and the clock that says whether it still holds. Only the membership changes them.
pub(super) struct Standing {
    registration: watch::Sender<Registration>,
    clock: Mutex<LeaseClock>,
    lease: Duration,
    subscription: watch::Sender<Subscription>,
    write_failed: AtomicBool,
    renounced: AtomicBool,
    left: AtomicBool,
}

impl Standing {
    pub(super) fn new(first: NodeInstance, lease: Duration) -> Self {
        let why = RegistryError::Unreachable("no connection to redis was made yet".to_owned());
        Self {
            registration: watch::Sender::new(Registration {
                instance: first,
                registered: false,
                ever_registered: false,
                epoch: 0,
                hearing: 1,
                redis: RedisState::Down(why.to_string()),
                lease_expires: None,
                superseded: false,
            }),
            clock: Mutex::default(),
            lease,
            subscription: watch::Sender::new(Subscription::Down(why)),
            write_failed: AtomicBool::new(false),
            renounced: AtomicBool::new(false),
            left: AtomicBool::new(false),
        }
    }

    pub(super) fn registration(&self) -> watch::Receiver<Registration> {
        self.registration.subscribe()
    }

    pub(super) fn instance(&self) -> NodeInstance {
        self.registration.borrow().instance.clone()
    }

    pub(super) fn ever_registered(&self) -> bool {
        self.registration.borrow().ever_registered
    }

    pub(super) fn superseded(&self) -> bool {
        self.registration.borrow().superseded
    }

    pub(super) fn registered(&self) -> bool {
        self.registration.borrow().registered
    }

    /// The node's instance if its lease holds at `now` by the own clock.
    pub(super) fn holds(&self, now: Instant) -> Option<NodeInstance> {
        let registration = self.registration.borrow();
        (registration.registered && !self.lapsed(now)).then(|| registration.instance.clone())
    }

    /// Whether a full lease has passed since the last heartbeat that worked.
    pub(super) fn lapsed(&self, now: Instant) -> bool {
        self.clock.lock().last_good.is_none_or(|at| now.saturating_duration_since(at) >= self.lease)
    }

    /// When the lease lapses unless renewed.
    pub(super) fn lapses_at(&self) -> Option<Instant> {
        self.clock.lock().last_good.map(|at| at + self.lease)
    }

    /// Whether heartbeats have worked without a break for one full lease: others had the time to come back too.
    pub(super) fn steady(&self, now: Instant) -> bool {
        self.clock.lock().steady_since.is_some_and(|at| now.saturating_duration_since(at) >= self.lease)
    }

    /// Whether what the registry does not hold is not there. Not so in the first lease after Redis was away: others may
    /// not be back yet.
    pub(super) fn absence_counts(&self, now: Instant) -> bool {
        !self.clock.lock().cautious || self.steady(now)
    }

    /// Others may only seem to be gone: wait for one lease of good heartbeats before believing it.
    pub(super) fn be_cautious(&self) {
        self.clock.lock().cautious = true;
    }

    /// The connection to Redis ended. When it is back, all users are to be asserted.
    pub(super) fn note_away(&self) {
        if self.ever_registered() {
            let mut clock = self.clock.lock();
            (clock.steady_since, clock.cautious) = (None, true);
            drop(clock);
            self.note_failed_write();
        }
    }

    /// The lease was extended by an exchange that began at `sent`. Nothing else is said by that.
    pub(super) fn lease_extended(&self, sent: Instant) {
        self.clock.lock().last_good = Some(sent);
        let lease_expires = SystemTime::now() + self.lease.saturating_sub(sent.elapsed());
        self.registration.send_modify(|registration| registration.lease_expires = Some(lease_expires));
    }

    /// The lease was written by an exchange that began at `sent`. `all_lost`: the registry holds nothing of this node,
    /// because it is newly registered or Redis lost its data.
    pub(super) fn beat_worked(&self, sent: Instant, all_lost: bool) {
        {
            let mut clock = self.clock.lock();
            clock.last_good = Some(sent);
            clock.steady_since.get_or_insert(sent);
        }
        let assert_again = self.write_failed.swap(false, Ordering::AcqRel);
        let redis = match &*self.subscription.borrow() {
            Subscription::Up => RedisState::Up,
            Subscription::Down(error) => RedisState::Down(error.to_string()),
        };
        let lease_expires = SystemTime::now() + self.lease.saturating_sub(sent.elapsed());
        self.registration.send_modify(|registration| {
            registration.registered = true;
            registration.ever_registered = true;
            registration.redis = redis;
            registration.lease_expires = Some(lease_expires);
            if all_lost || assert_again {
                registration.epoch += 1;
            }
            if all_lost {
                registration.hearing += 1;
            }
        });
    }

    /// A heartbeat or a registration failed; whether the lease still holds is the clock's to say.
    pub(super) fn beat_failed(&self, error: &RegistryError) {
        let ever_registered = self.ever_registered();
        {
            let mut clock = self.clock.lock();
            clock.steady_since = None;
            clock.cautious |= ever_registered;
        }
        let redis = match error {
            RegistryError::NodeIdInUse(_) | RegistryError::PrefixInUse(_) => {
                RedisState::Refused(error.to_string())
            }
            _ => RedisState::Down(error.to_string()),
        };
        self.registration.send_modify(|registration| registration.redis = redis);
    }

    /// The lease is lost, so this life is over. Returns it, if it was ever registered; the next one has begun.
    pub(super) fn end_life(&self) -> Option<NodeInstance> {
        *self.clock.lock() = LeaseClock { cautious: true, ..LeaseClock::default() };
        let mut ended = None;
        self.registration.send_if_modified(|registration| {
            if registration.registered {
                ended = Some(registration.instance.clone());
                registration.registered = false;
                registration.lease_expires = None;
                let next = registration.instance.incarnation.next();
                #[cfg(test)]
                let next = match fault::is(Fault::LapsedLifeKept) {
                    true => registration.instance.incarnation.clone(),
                    false => next,
                };
                registration.instance.incarnation = next;
            }
            ended.is_some()
        });
        ended
    }

    /// Another process holds the node's identity; there is no way back.
    pub(super) fn supersede(&self) {
        self.registration.send_modify(|registration| registration.superseded = true);
    }

    /// The node gave its lease up on purpose.
    pub(super) fn leave(&self) {
        self.left.store(true, Ordering::Release);
        *self.clock.lock() = LeaseClock::default();
        self.registration.send_modify(|registration| {
            registration.registered = false;
            registration.lease_expires = None;
        });
    }

    /// Whether [`Standing::leave`] was called: nothing is to be registered any more.
    pub(super) fn has_left(&self) -> bool {
        self.left.load(Ordering::Acquire)
    }

    pub(super) fn subscription(&self) -> watch::Receiver<Subscription> {
        self.subscription.subscribe()
    }

    pub(super) fn set_subscription(&self, state: Subscription) {
        let changed = self.subscription.send_if_modified(|now| {
            let changed = *now != state;
            *now = state;
            changed
        });
        if changed {
            self.note_missed();
        }
    }

    /// Something that other nodes said may not have been heard.
    pub(super) fn note_missed(&self) {
        self.registration.send_modify(|registration| registration.hearing += 1);
    }

    /// A user's entry could not be written: local users are asserted again once the registry answers.
    pub(super) fn note_failed_write(&self) {
        self.write_failed.store(true, Ordering::Release);
    }

    /// More removals are owed than are remembered: only a new life makes the old entries void.
    pub(super) fn renounce(&self) {
        self.renounced.store(true, Ordering::Release);
    }

    /// Whether [`Standing::renounce`] was called since the last call of this.
    pub(super) fn take_renounced(&self) -> bool {
        self.renounced.swap(false, Ordering::AcqRel)
    }
}
