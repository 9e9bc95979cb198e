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
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::ports::EventLog;
use crate::protocol::event::Event;

/// Events that wait for the log. Beyond either bound new ones are dropped and counted.
const MOST_EVENTS: usize = 65_536;
/// The same in bytes of JSON.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// Events written at once.
const BATCH: usize = 256;
/// Pause after a write that failed.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest time for the last events of a node that stops.
const LAST_WORDS: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Waiting {
    events: VecDeque<String>,
    bytes: usize,
}

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
        let text = event.to_json();
        let mut waiting = self.waiting.lock();
        if waiting.events.len() >= MOST_EVENTS || waiting.bytes + text.len() > MOST_BYTES {
            drop(waiting);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.bytes += text.len();
        waiting.events.push_back(text);
        drop(waiting);
        self.added.notify_one();
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
            let batch: Vec<String> = self.waiting.lock().events.iter().take(BATCH).cloned().collect();
            if batch.is_empty() {
                tokio::select! {
                    () = shutdown.cancelled() => break,
                    () = self.added.notified() => continue,
                }
            }
            match self.log.append(&batch).await {
                Ok(()) => {
                    complained = false;
                    self.forget(batch.len());
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
        let rest: Vec<String> = self.waiting.lock().events.iter().cloned().collect();
        let last = async {
            for batch in rest.chunks(BATCH) {
                if self.log.append(batch).await.is_err() {
                    return;
                }
                self.forget(batch.len());
            }
        };
        let in_time = tokio::time::timeout(LAST_WORDS, last).await.is_ok();
        if !in_time || self.waiting() > 0 {
            tracing::warn!(events = self.waiting(), "events were not written before the end");
        }
    }

    fn forget(&self, written: usize) {
        let mut waiting = self.waiting.lock();
        let done: usize = waiting.events.drain(..written).map(|text| text.len()).sum();
        waiting.bytes -= done;
        drop(waiting);
        self.written.fetch_add(u64::try_from(written).unwrap_or(u64::MAX), Ordering::Relaxed);
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

    #[test]
    fn a_full_queue_counts_what_it_drops() {
        let writer = EventWriter::new(Arc::new(Log::default()));
        (0..MOST_EVENTS as u64 + 5).for_each(|n| writer.emit(&event(n)));
        assert_eq!((writer.waiting(), writer.dropped()), (MOST_EVENTS, 5));
    }
}
