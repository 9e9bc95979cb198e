//! The log of events of a node that is alone: the latest ones, in memory.

use std::{collections::VecDeque, time::SystemTime};

use futures::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;

use crate::{
    protocol::{event::EventPosition, millis::millis_since_epoch},
    routing::ports::{DirectoryError, EventLog, LoggedEvent},
};

/// Events that are kept.
const MOST_EVENTS: usize = 100_000;
/// Bytes of JSON that are kept.
const MOST_BYTES: usize = 64 * 1024 * 1024;

#[derive(Default)]
struct State {
    events: VecDeque<LoggedEvent>,
    bytes: usize,
    last: EventPosition,
}

/// The latest events, in memory.
#[derive(Default)]
pub(super) struct EventRing(Mutex<State>);

impl State {
    fn push(&mut self, json: &str, now_ms: u64) {
        // Positions rise even when the clock does not.
        let position = if now_ms > self.last.ms {
            EventPosition { ms: now_ms, number: 0 }
        } else {
            EventPosition { ms: self.last.ms, number: self.last.number + 1 }
        };
        self.last = position;
        self.bytes += json.len();
        self.events.push_back(LoggedEvent { position, json: json.to_owned() });
        while self.events.len() > MOST_EVENTS || self.bytes > MOST_BYTES {
            let Some(oldest) = self.events.pop_front() else { break };
            self.bytes -= oldest.json.len();
        }
    }
}

impl EventLog for EventRing {
    fn append<'a>(&'a self, events: &'a [String]) -> BoxFuture<'a, Result<(), DirectoryError>> {
        let now_ms = millis_since_epoch(SystemTime::now());
        let mut state = self.0.lock();
        events.iter().for_each(|json| state.push(json, now_ms));
        drop(state);
        futures::future::ready(Ok(())).boxed()
    }

    fn after(
        &self,
        position: EventPosition,
        most: usize,
    ) -> BoxFuture<'_, Result<Vec<LoggedEvent>, DirectoryError>> {
        let state = self.0.lock();
        let from = state.events.partition_point(|event| event.position <= position);
        let found = state.events.range(from..).take(most).cloned().collect();
        drop(state);
        futures::future::ready(Ok(found)).boxed()
    }

    fn ends(&self) -> BoxFuture<'_, Result<Option<(EventPosition, EventPosition)>, DirectoryError>> {
        let state = self.0.lock();
        let ends = state.events.front().zip(state.events.back()).map(|(a, b)| (a.position, b.position));
        drop(state);
        futures::future::ready(Ok(ends)).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_rise_and_the_oldest_go_first() {
        let mut state = State::default();
        for now in [5, 5, 4, 6] {
            state.push("{}", now);
        }
        let places: Vec<_> = state.events.iter().map(|e| e.position.to_string()).collect();
        assert_eq!(places, ["5-0", "5-1", "5-2", "6-0"]);
        (0..MOST_EVENTS).for_each(|_| state.push("{}", 7));
        assert_eq!((state.events.len(), state.bytes), (MOST_EVENTS, 2 * MOST_EVENTS));
        assert_eq!(state.events.front().unwrap().position.to_string(), "7-0");
    }
}
