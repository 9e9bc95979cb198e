//! Messages on their way: tried, waited for, tried again. One message, or the many of one call.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use futures::FutureExt;

use super::{
    acks::AwaitedAck,
    moving::{self, MovingWait},
    retry,
    router::Router,
    tally::{Outcome, SendTally},
};
use crate::{
    identity::{NodeId, NodeInstance, UserId},
    local::{delivery_tally::Settled, fan_out},
    protocol::{
        error_code::ErrorCode,
        message::{SendOptions, Wait},
        millis::whole_millis,
        send_result::{Attempt, SendResult, SendStatus},
        stored_notice::StoredNotice,
        wire_frame::WireFrame,
    },
};

/// One message on its way to one user.
pub(super) struct Flight<'a> {
    pub(super) receiver: &'a UserId,
    pub(super) frame: WireFrame,
    options: SendOptions,
    pub(super) tally: SendTally,
    /// This node's connections that have the frame and have not all written it.
    local: Option<Settled>,
    /// Of a stored message: its news, and the other nodes where the receiver was when it was stored. Who connects later
    /// reads it from the inbox.
    pub(super) stored: Option<(StoredNotice, Vec<NodeInstance>)>,
    /// The receiver's word that it has the message, where it is waited for.
    ack: Option<AwaitedAck>,
    retries: u32,
    /// Tries of any kind that were made.
    pub(super) tries: u32,
    /// While it waits for a receiver on the move.
    pub(super) wait: Option<MovingWait>,
    /// When the present try began, since acceptance.
    began: Duration,
    attempts: Vec<Attempt>,
}

impl<'a> Flight<'a> {
    pub(super) fn new(receiver: &'a UserId, frame: WireFrame, options: SendOptions) -> Self {
        Self {
            receiver,
            frame,
            options,
            tally: SendTally::default(),
            local: None,
            stored: None,
            ack: None,
            retries: 0,
            tries: 0,
            wait: None,
            began: Duration::ZERO,
            attempts: Vec::new(),
        }
    }

    /// A message that is kept.
    pub(super) fn stored(
        receiver: &'a UserId,
        notice: StoredNotice,
        nodes: Vec<NodeInstance>,
        options: SendOptions,
    ) -> Self {
        let frame = WireFrame::new(String::new());
        Self { stored: Some((notice, nodes)), ..Self::new(receiver, frame, options) }
    }

    /// The same, waiting for the receiver's word if there is to be one.
    pub(super) fn awaiting(mut self, ack: Option<AwaitedAck>) -> Self {
        self.ack = ack;
        self
    }

    pub(super) fn left(&self, elapsed: Duration) -> Duration {
        self.options.timeout.saturating_sub(elapsed)
    }

    pub(super) fn repeats_left(&self) -> u32 {
        self.options.max_retries.saturating_sub(self.retries)
    }

    pub(super) fn waits(&self) -> bool {
        self.options.wait != Wait::None
    }

    /// Whether it is to be tried again when its receiver has come back, which is no retry.
    fn waits_for_a_move(&self) -> bool {
        self.waits() && self.tally.is_moving()
    }

    /// Takes note of what the present try came to.
    fn note_attempt(&mut self) {
        let conclusion = self.tally.conclude();
        self.attempts.push(Attempt {
            after_ms: whole_millis(self.began),
            status: conclusion.status,
            error: conclusion.error,
        });
    }

    /// What is to be said about it, `took` after it was accepted.
    pub(super) fn result(mut self, id: String, own: &NodeId, took: Duration) -> SendResult {
        if self.retries > 0 {
            self.note_attempt();
        }
        let moving = self.tally.is_moving();
        let mut conclusion = self.tally.conclude();
        let acked = self.ack.as_mut().is_some_and(AwaitedAck::came);
        let (mut status, connections, nodes) = match self.options.wait {
            Wait::None => (accepted(conclusion.status), 0, Vec::new()),
            // Whoever says that it has the message got it, also where no node has reported yet.
            Wait::Acked if acked => (SendStatus::Acked, conclusion.connections.max(1), self.tally.nodes(own)),
            Wait::Acked | Wait::Delivered => {
                (conclusion.status, conclusion.connections, self.tally.nodes(own))
            }
        };
        let offset = self.stored.map(|(notice, _)| notice.offset.to_string());
        if offset.is_some()
            && !matches!(status, SendStatus::Acked | SendStatus::Delivered | SendStatus::Partial)
        {
            // Whatever happened on the way: it is kept and will be read.
            (status, conclusion.error) = (SendStatus::Stored, None);
        }
        SendResult {
            id,
            message_id: None,
            status,
            connections,
            nodes,
            total_retries: self.retries,
            total_duration_ms: whole_millis(took),
            attempts: self.attempts,
            offset,
            duplicate: false,
            moving: moving && status == SendStatus::Offline,
            error: conclusion.error,
        }
    }
}

/// With nobody waiting, whatever was handed on is accepted.
fn accepted(status: SendStatus) -> SendStatus {
    match status {
        SendStatus::Offline | SendStatus::Failed => status,
        SendStatus::Accepted
        | SendStatus::Delivered
        | SendStatus::Stored
        | SendStatus::Acked
        | SendStatus::Unknown
        | SendStatus::Partial => SendStatus::Accepted,
    }
}

impl Router {
    /// Brings messages, each of which was tried here, to their ends. Those for one receiver keep their order: an earlier
    /// one is not repeated once a later one is ahead of it. `retrying` is set while something is tried again.
    pub(super) async fn run(
        &self,
        flights: &mut [Flight<'_>],
        accepted: Instant,
        retrying: Option<&AtomicBool>,
    ) {
        let mut active: Vec<usize> = (0..flights.len()).collect();
        loop {
            self.try_elsewhere(flights, &active, accepted).await;
            let mut again = to_repeat(flights);
            if again.is_empty() {
                settle_local(flights, accepted).await;
                again = to_repeat(flights);
            }
            let elapsed = accepted.elapsed();
            let jitter = rand::random();
            let mut wait = Duration::ZERO;
            again.retain(|place| {
                let flight = &mut flights[*place];
                let left = flight.left(elapsed);
                let pause = if flight.waits_for_a_move() {
                    moving::wait_before_look(flight.tries, left, jitter).filter(|_| self.may_wait(flight))
                } else {
                    retry::wait_before(flight.retries, flight.options.max_retries, left, jitter)
                };
                wait = wait.max(pause.unwrap_or_default());
                pause.is_some()
            });
            if again.is_empty() {
                break;
            }
            let repeated: Vec<usize> =
                again.iter().copied().filter(|place| !flights[*place].waits_for_a_move()).collect();
            for place in &repeated {
                flights[*place].note_attempt();
            }
            if let Some(retrying) = retrying {
                retrying.store(true, Ordering::Release);
            }
            tokio::time::sleep(wait).await;
            for place in &again {
                let flight = &mut flights[*place];
                if !flight.waits_for_a_move() {
                    flight.retries += 1;
                    flight.began = accepted.elapsed();
                }
                flight.tally.begin_try();
                self.try_here(flight);
            }
            active = again;
        }
        settle_local(flights, accepted).await;
        hear_acks(flights, accepted).await;
    }

    /// Whether nothing is left to do for a message that was tried here: nobody waits for it, and its receiver is known to
    /// be nowhere else.
    pub(super) fn is_done_here(&self, flight: &Flight<'_>) -> bool {
        !flight.waits() && flight.tally.own_has_it() && self.is_nowhere_else(flight)
    }

    /// Whether the receiver is known to be here and on no other node, well enough for a first try.
    pub(super) fn is_nowhere_else(&self, flight: &Flight<'_>) -> bool {
        let hearing = self.registration.borrow().hearing;
        // A stored message goes where the receiver was when it was stored.
        flight.tries <= 1 && flight.stored.is_none() && self.whereabouts.only_here(flight.receiver, hearing)
    }

    /// Queues a message for its receiver's connections here, unless that was done before.
    pub(super) fn try_here(&self, flight: &mut Flight<'_>) {
        if flight.tally.own_is_settled() {
            return;
        }
        let fan_out = match &flight.stored {
            None => fan_out::to_user(&self.local, flight.receiver, &flight.frame, flight.waits()),
            Some((notice, _)) => self.give_here(flight.receiver, notice, flight.waits()),
        };
        if fan_out.queued > 0 {
            flight.local = fan_out.settled;
            let queued = Outcome::Reached(fan_out.queued);
            flight.tally.note_own(if flight.waits() { Outcome::Silent } else { queued });
        } else if fan_out.full > 0 {
            let full = "the connection's queue is full".to_owned();
            flight.tally.note_own(Outcome::NotSent(ErrorCode::Overloaded, full));
        }
    }
}

/// The messages worth another try, in order.
fn to_repeat(flights: &[Flight<'_>]) -> Vec<usize> {
    let worth = |flight: &Flight<'_>| {
        let again = flight.repeats_left() > 0
            && match flight.stored {
                None => flight.tally.is_worth_a_retry(flight.retries),
                // Whoever is there now and was not then reads it from the inbox.
                Some(_) => flight.tally.is_open(),
            };
        again || flight.waits_for_a_move()
    };
    let mut again: Vec<usize> =
        flights.iter().enumerate().filter(|(_, flight)| worth(flight)).map(|(place, _)| place).collect();
    if again.is_empty() || flights.len() == 1 {
        return again;
    }
    let mut of_receiver: HashMap<&UserId, Vec<usize>> = HashMap::new();
    for (place, flight) in flights.iter().enumerate() {
        of_receiver.entry(flight.receiver).or_default().push(place);
    }
    again.retain(|place| {
        let flight = &flights[*place];
        let others = of_receiver.get(flight.receiver).map_or(&[][..], Vec::as_slice);
        let later = others.iter().filter(|other| **other > *place);
        !later.into_iter().any(|other| flights[*other].tally.went_ahead_of(&flight.tally))
    });
    again
}

/// Waits for this node's own connections, each message until its time is up.
async fn settle_local(flights: &mut [Flight<'_>], accepted: Instant) {
    for flight in flights {
        let Some(settled) = flight.local.take() else { continue };
        let left = flight.left(accepted.elapsed());
        let outcome = confirmed(settled, left).await;
        flight.tally.note_own(outcome);
    }
}

/// Waits for the receivers' words, each until its message's time is up. A message that nobody can have needs none.
async fn hear_acks(flights: &mut [Flight<'_>], accepted: Instant) {
    for flight in flights {
        let left = flight.left(accepted.elapsed());
        let Some(ack) = &mut flight.ack else { continue };
        let nowhere = matches!(flight.tally.conclude().status, SendStatus::Offline | SendStatus::Failed);
        // What is kept reaches who comes in time.
        if !nowhere || flight.stored.is_some() {
            ack.wait(left).await;
        }
    }
}

/// What this node's connections did with a frame, once all have settled or time is up.
pub(super) async fn confirmed(mut settled: Settled, left: Duration) -> Outcome {
    // A timer is made only where it is needed.
    let in_time =
        (&mut settled).now_or_never().is_some() || tokio::time::timeout(left, &mut settled).await.is_ok();
    match settled.written() {
        0 if in_time && settled.in_doubt() == 0 => Outcome::NotHere,
        0 => Outcome::Silent,
        written => Outcome::Reached(written),
    }
}
