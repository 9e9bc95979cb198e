//! The log of events as a Redis stream.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;

use super::{key_space::KeySpace, redis_link::RedisLink, registry_error::RegistryError};
use crate::{
    protocol::event::EventPosition,
    routing::ports::{DirectoryError, EventLog, LoggedEvent},
};

/// Events that are kept, about.
pub(super) const MOST_EVENTS: usize = 100_000;
/// Memory that Redis may use for them, about, in bytes; looked at now and then.
const MOST_BYTES: u64 = 64 * 1024 * 1024;
/// Between two looks at the memory.
const LOOK: Duration = Duration::from_secs(10);
/// The field of an entry that holds the event.
pub(super) const FIELD: &str = "event";

type Entries = Vec<(String, Vec<(String, String)>)>;

/// The stream `{events}`: anyone may also read it with XREADGROUP; the field `event` holds the JSON.
pub(super) struct EventStream {
    link: Arc<RedisLink>,
    key: String,
    looked: Mutex<Instant>,
}

impl EventStream {
    pub(super) fn new(link: Arc<RedisLink>, keys: &KeySpace) -> Self {
        Self { link, key: keys.events(), looked: Mutex::new(Instant::now()) }
    }

    /// Writes events at the end.
    pub(super) async fn write(&self, events: &[String]) -> Result<(), RegistryError> {
        if events.is_empty() {
            return Ok(());
        }
        let mut pipeline = redis::pipe();
        for event in events {
            pipeline.cmd("XADD").arg(&self.key).arg("MAXLEN").arg("~").arg(MOST_EVENTS).arg("*");
            pipeline.arg(FIELD).arg(event).ignore();
        }
        self.link.pipeline::<()>(&pipeline).await.map_err(|failure| failure.error)?;
        let due = {
            let mut looked = self.looked.lock();
            let due = looked.elapsed() >= LOOK;
            if due {
                *looked = Instant::now();
            }
            due
        };
        if due { self.keep_small().await } else { Ok(()) }
    }

    /// Events of clients may be large: a stream over its memory loses its older half.
    async fn keep_small(&self) -> Result<(), RegistryError> {
        let mut usage = redis::cmd("MEMORY");
        usage.arg("USAGE").arg(&self.key);
        let bytes: Option<u64> = self.link.command(&usage).await.map_err(|failure| failure.error)?;
        if bytes.is_none_or(|bytes| bytes <= MOST_BYTES) {
            return Ok(());
        }
        let length: u64 = self.link.command(redis::cmd("XLEN").arg(&self.key)).await.map_err(|f| f.error)?;
        let mut trim = redis::cmd("XTRIM");
        trim.arg(&self.key).arg("MAXLEN").arg("~").arg(length / 2);
        let gone: u64 = self.link.command(&trim).await.map_err(|failure| failure.error)?;
        tracing::warn!(events = gone, bytes, "the stream of events was over its memory, the oldest are gone");
        Ok(())
    }

    async fn one(&self, command: &str, from: &str, to: &str) -> Result<Option<EventPosition>, RegistryError> {
        let mut range = redis::cmd(command);
        range.arg(&self.key).arg(from).arg(to).arg("COUNT").arg(1);
        let entries: Entries = self.link.command(&range).await.map_err(|failure| failure.error)?;
        Ok(entries.first().and_then(|(position, _)| position.parse().ok()))
    }
}

impl EventLog for EventStream {
    fn append<'a>(&'a self, events: &'a [String]) -> BoxFuture<'a, Result<(), DirectoryError>> {
        async move { Ok(self.write(events).await?) }.boxed()
    }

    fn after(
        &self,
        position: EventPosition,
        most: usize,
    ) -> BoxFuture<'_, Result<Vec<LoggedEvent>, DirectoryError>> {
        async move {
            let mut range = redis::cmd("XRANGE");
            range.arg(&self.key).arg(format!("({position}")).arg("+").arg("COUNT").arg(most);
            let entries: Entries = self.link.command(&range).await?;
            // An entry of somebody else has no event, but a place that readers must get past.
            let logged = |(position, fields): (String, Vec<(String, String)>)| {
                let json = fields.into_iter().find(|(field, _)| field == FIELD).map(|(_, json)| json);
                Some(LoggedEvent { position: position.parse().ok()?, json: json.unwrap_or_default() })
            };
            Ok(entries.into_iter().filter_map(logged).collect())
        }
        .boxed()
    }

    fn ends(&self) -> BoxFuture<'_, Result<Option<(EventPosition, EventPosition)>, DirectoryError>> {
        async move {
            let first = self.one("XRANGE", "-", "+").await?;
            let last = self.one("XREVRANGE", "+", "-").await?;
            Ok(first.zip(last))
        }
        .boxed()
    }
}
