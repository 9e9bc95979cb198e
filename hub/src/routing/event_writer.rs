//! Hands events to the log, in order, without holding up whoever they are about.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::ports::EventLog;
use crate::protocol::event::Event;

/// Events that wait for the log. Beyond either bound new ones are dropped and counted.
const MOST_EVENTS: usize = 65_536;
/// The same in bytes of JSON.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// What clients may make wait takes at most this part of either bound, so that they cannot crowd out the rest.
const CLIENTS_PART: usize = 2;
/// Events written at once.
const BATCH: usize = 256;
/// Bytes of JSON written at once, unless one event alone has more.
const BATCH_BYTES: usize = 1024 * 1024;
/// Pause after a write that failed.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest time for the last events of a node that stops.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// An event on its way into the log.
struct Pending {
    text: String,
    /// Who wants to know when it is there; whoever does not wait any more takes the event back.
    told: Option<oneshot::Sender<()>>,
}

impl Pending {
    fn is_taken_back(&self) -> bool {
        self.told.as_ref().is_some_and(oneshot::Sender::is_closed)
    }
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<Pending>,
    bytes: usize,
}

impl Waiting {
    /// False when there is no room in this part of the bounds.
    fn push(&mut self, pending: Pending, part: usize) -> bool {
        let bytes = self.bytes + pending.text.len();
        if self.events.len() >= MOST_EVENTS / part || bytes > MOST_BYTES / part {
            return false;
        }
        self.bytes = bytes;
        self.events.push_back(pending);
        true
    }

    /// What to write next, and how many events of the queue that is: those that were taken back are passed over.
    fn batch(&self) -> (Vec<String>, usize) {
        let (mut texts, mut bytes, mut count) = (Vec::new(), 0, 0);
        for pending in self.events.iter().take(BATCH) {
            bytes += pending.text.len();
            if count > 0 && bytes > BATCH_BYTES {
                break;
            }
            count += 1;
            if !pending.is_taken_back() {
                texts.push(pending.text.clone());
            }
        }
        (texts, count)
    }
}

/// As much waits for the log as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogBehind;

/// Hands events to the log. What cannot be written is kept and tried again, so an event may be told twice; only a
/// full queue loses any, and says how many.
pub struct EventWriter {
    log: Arc<dyn EventLog>,
    waiting: Mutex<Waiting>,
    added: Notify,
    written: AtomicU64,
    dropped: AtomicU64,
}

impl EventWriter {
    /// A writer with nothing to write.
    #[must_use]
    pub fn new(log: Arc<dyn EventLog>) -> Self {
        let (written, dropped) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { log, waiting: Mutex::default(), added: Notify::new(), written, dropped }
    }

    /// The log that is written.
    #[must_use]
    pub fn log(&self) -> &Arc<dyn EventLog> {
        &self.log
    }

    /// Takes an event. Never waits.
    pub fn emit(&self, event: &Event) {
        if !self.waiting.lock().push(Pending { text: event.to_json(), told: None }, 1) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.added.notify_one();
    }

    /// Takes an event of a client, behind those that wait. What is returned ends well when the event is in the log;
    /// dropping it earlier takes the event back, unless it is just being written.
    ///
    /// # Errors
    /// [`LogBehind`] when too much waits already; the event is not taken then, which is not counted as dropped: the
    /// client is told.
    pub fn emit_and_tell(&self, event: &Event) -> Result<oneshot::Receiver<()>, LogBehind> {
        let (told, written) = oneshot::channel();
        let pending = Pending { text: event.to_json(), told: Some(told) };
        if !self.waiting.lock().push(pending, CLIENTS_PART) {
            return Err(LogBehind);
        }
        self.added.notify_one();
        Ok(written)
    }

    /// Counts an event that was lost before it could be handed over.
    pub(super) fn count_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Events written since the start.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Events that found the queue full.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Events that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.lock().events.len()
    }

    /// Writes until `shutdown`, then what is left for at most a second.
    pub async fn run(&self, shutdown: CancellationToken) {
        let mut complained = false;
        while !shutdown.is_cancelled() {
            let (batch, count) = self.waiting.lock().batch();
            if count == 0 {
                tokio::select! {
                    () = shutdown.cancelled() => break,
                    () = self.added.notified() => continue,
                }
            }
            match self.log.append(&batch).await {
                Ok(()) => {
                    complained = false;
                    self.forget(batch.len(), count);
                }
                Err(error) => {
                    if !std::mem::replace(&mut complained, true) {
                        tracing::warn!(%error, "events cannot be written, they wait");
                    }
                    tokio::select! {
                        () = shutdown.cancelled() => break,
                        () = tokio::time::sleep(PAUSE) => {}
                    }
                }
            }
        }
        let last = async {
            loop {
                let (batch, count) = self.waiting.lock().batch();
                if count == 0 || self.log.append(&batch).await.is_err() {
                    return;
                }
                self.forget(batch.len(), count);
            }
        };
        let in_time = tokio::time::timeout(LAST_WORDS, last).await.is_ok();
        if !in_time || self.waiting() > 0 {
            tracing::warn!(events = self.waiting(), "events were not written before the end");
        }
    }

    /// The first `count` events that waited are done with, `written` of them by being in the log.
    fn forget(&self, written: usize, count: usize) {
        let mut waiting = self.waiting.lock();
        let done: Vec<Pending> = waiting.events.drain(..count).collect();
        waiting.bytes -= done.iter().map(|pending| pending.text.len()).sum::<usize>();
        drop(waiting);
        self.written.fetch_add(u64::try_from(written).unwrap_or(u64::MAX), Ordering::Relaxed);
        for told in done.into_iter().filter_map(|pending| pending.told) {
            // Whoever waited may have stopped.
            let _ = told.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use futures::{FutureExt, future::BoxFuture};

    use super::*;
    use crate::{
        identity::{NodeId, UserId},
        protocol::event::EventPosition,
        routing::ports::{DirectoryError, LoggedEvent},
    };

    #[derive(Default)]
    struct Log {
        away: AtomicBool,
        refused: AtomicU64,
        lines: Mutex<Vec<String>>,
    }

    impl EventLog for Log {
        fn append<'a>(&'a self, events: &'a [String]) -> BoxFuture<'a, Result<(), DirectoryError>> {
            async move {
                if self.away.load(Ordering::Relaxed) {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    return Err(DirectoryError::Unavailable("away".to_owned()));
                }
                self.lines.lock().extend_from_slice(events);
                Ok(())
            }
            .boxed()
        }

        fn after(
            &self,
            _: EventPosition,
            _: usize,
        ) -> BoxFuture<'_, Result<Vec<LoggedEvent>, DirectoryError>> {
            async { Ok(Vec::new()) }.boxed()
        }

        fn ends(&self) -> BoxFuture<'_, Result<Option<(EventPosition, EventPosition)>, DirectoryError>> {
            async { Ok(None) }.boxed()
        }
    }

    fn event(n: u64) -> Event {
        let (user, node) = (UserId::new("alice").unwrap(), NodeId::new("chat-0").unwrap());
        Event::online(&user, n, &node, String::new())
    }

    async fn eventually(mut holds: impl FnMut() -> bool) {
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while !holds() {
            assert!(std::time::Instant::now() < deadline, "not within 10 s");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn events_wait_for_the_log_and_keep_their_order() {
        let log = Arc::new(Log::default());
        log.away.store(true, Ordering::Relaxed);
        let writer = Arc::new(EventWriter::new(Arc::clone(&log) as Arc<dyn EventLog>));
        let stop = CancellationToken::new();
        let (running, stopped) = (Arc::clone(&writer), stop.clone());
        let task = tokio::spawn(async move { running.run(stopped).await });
        (0..300).for_each(|n| writer.emit(&event(n)));
        eventually(|| log.refused.load(Ordering::Relaxed) > 0).await;
        assert_eq!((writer.written(), writer.waiting()), (0, 300));
        log.away.store(false, Ordering::Relaxed);
        eventually(|| writer.written() == 300).await;
        assert_eq!((writer.waiting(), writer.dropped()), (0, 0));
        let lines = log.lines.lock().clone();
        let expected: Vec<_> = (0..300).map(|n| event(n).to_json()).collect();
        assert_eq!(lines, expected);
        writer.emit(&event(300));
        stop.cancel();
        task.await.unwrap();
        assert_eq!(log.lines.lock().len(), 301, "the last words are written too");
    }

    #[tokio::test]
    async fn whoever_waits_is_told_and_whoever_stops_waiting_takes_the_event_back() {
        let log = Arc::new(Log::default());
        let writer = Arc::new(EventWriter::new(Arc::clone(&log) as Arc<dyn EventLog>));
        let [first, second, third] = [1, 2, 3].map(|n| writer.emit_and_tell(&event(n)).unwrap());
        drop(second);
        let stop = CancellationToken::new();
        let (running, stopped) = (Arc::clone(&writer), stop.clone());
        let task = tokio::spawn(async move { running.run(stopped).await });
        first.await.unwrap();
        third.await.unwrap();
        assert_eq!((writer.written(), writer.waiting()), (2, 0));
        assert_eq!(*log.lines.lock(), [event(1).to_json(), event(3).to_json()]);
        stop.cancel();
        task.await.unwrap();
    }

    #[test]
    fn clients_leave_room_for_other_events_and_batches_are_bounded() {
        let writer = EventWriter::new(Arc::new(Log::default()));
        let told: Vec<_> =
            (0..MOST_EVENTS as u64).map_while(|n| writer.emit_and_tell(&event(n)).ok()).collect();
        assert_eq!((told.len(), writer.dropped()), (MOST_EVENTS / CLIENTS_PART, 0));
        writer.emit(&event(0));
        assert_eq!((writer.waiting(), writer.dropped()), (told.len() + 1, 0));
        let mut waiting = Waiting::default();
        for size in [BATCH_BYTES * 2, BATCH_BYTES / 2, BATCH_BYTES / 2, 1] {
            assert!(waiting.push(Pending { text: "x".repeat(size), told: None }, 1));
        }
        let mut counts = Vec::new();
        while !waiting.events.is_empty() {
            counts.push(waiting.batch().1);
            waiting.events.drain(..waiting.batch().1);
        }
        assert_eq!(counts, [1, 2, 1]);
    }

    #[test]
    fn a_full_queue_counts_what_it_drops() {
        let writer = EventWriter::new(Arc::new(Log::default()));
        (0..MOST_EVENTS as u64 + 5).for_each(|n| writer.emit(&event(n)));
        assert_eq!((writer.waiting(), writer.dropped()), (MOST_EVENTS, 5));
    }
}
