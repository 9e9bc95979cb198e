//! Follows the log of events from a place on.

use std::{sync::Arc, time::Duration};

use super::ports::{DirectoryError, EventLog, LoggedEvent};
use crate::protocol::event::EventPosition;

/// Events read at once.
const PAGE: usize = 256;
/// Pause when there is nothing new.
const PAUSE: Duration = Duration::from_millis(200);
/// Pause when the log cannot be read.
const AWAY: Duration = Duration::from_secs(1);

/// Some events are no longer kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventGap {
    /// The place that was asked for.
    pub from: EventPosition,
    /// The oldest event that is kept.
    pub to: EventPosition,
}

/// Follows the log of events from a place on. Cloning gives a second reader at the same place.
#[derive(Clone)]
pub struct EventTail {
    log: Arc<dyn EventLog>,
    position: EventPosition,
}

impl EventTail {
    /// Begins after a place, or with what happens from now on, and says whether events after that place are gone.
    ///
    /// # Errors
    /// [`DirectoryError`] when the log cannot be read.
    pub async fn open(
        log: Arc<dyn EventLog>,
        after: Option<EventPosition>,
    ) -> Result<(Self, Option<EventGap>), DirectoryError> {
        let ends = log.ends().await?;
        let newest = ends.map_or(EventPosition::BEGINNING, |(_, newest)| newest);
        let position = after.unwrap_or(newest);
        Ok((Self { log, position }, gap(position, ends)))
    }

    /// The place of the last event that was given.
    #[must_use]
    pub fn position(&self) -> EventPosition {
        self.position
    }

    /// The next events, at least one, oldest first. Waits for them, also while the log cannot be read: what was not
    /// read is there when the registry is back. Cancelling loses nothing.
    pub async fn next(&mut self) -> Vec<LoggedEvent> {
        loop {
            let pause = match self.log.after(self.position, PAGE).await {
                Ok(mut events) => {
                    if let Some(last) = events.last() {
                        self.position = last.position;
                    }
                    // What others wrote into the stream is no event.
                    events.retain(|event| event.json.starts_with('{'));
                    if !events.is_empty() {
                        return events;
                    }
                    PAUSE
                }
                Err(_) => AWAY,
            };
            tokio::time::sleep(pause).await;
        }
    }
}

/// From the beginning there is nothing to miss.
fn gap(after: EventPosition, ends: Option<(EventPosition, EventPosition)>) -> Option<EventGap> {
    let (oldest, _) = ends?;
    (after != EventPosition::BEGINNING && after < oldest).then_some(EventGap { from: after, to: oldest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_who_missed_something_is_told() {
        let at = |ms| EventPosition { ms, number: 0 };
        let ends = Some((at(10), at(20)));
        let cases = [
            (EventPosition::BEGINNING, ends, false),
            (at(9), ends, true),
            (at(10), ends, false),
            (at(15), ends, false),
            (at(25), ends, false),
            (at(9), None, false),
        ];
        for (after, ends, told) in cases {
            assert_eq!(gap(after, ends).is_some(), told, "{after} {ends:?}");
        }
    }
}
