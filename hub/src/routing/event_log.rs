//! What routing needs of a log of events. Implemented over Redis and in memory by `cluster/`.

use futures::future::BoxFuture;

use super::ports::DirectoryError;
use crate::protocol::event::EventPosition;

/// An event as the log keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedEvent {
    /// Where it stands.
    pub position: EventPosition,
    /// Its JSON, on one line.
    pub json: String,
}

/// Keeps the latest events of the cluster, in the order of their writing. Bounded: the oldest go first.
pub trait EventLog: Send + Sync {
    /// Writes events at the end. After an error some may have been written.
    fn append<'a>(&'a self, events: &'a [String]) -> BoxFuture<'a, Result<(), DirectoryError>>;

    /// The events after a place, oldest first, at most `most`.
    fn after(
        &self,
        position: EventPosition,
        most: usize,
    ) -> BoxFuture<'_, Result<Vec<LoggedEvent>, DirectoryError>>;

    /// The places of the oldest and of the newest event that are kept; none when there is no event.
    fn ends(&self) -> BoxFuture<'_, Result<Option<(EventPosition, EventPosition)>, DirectoryError>>;
}
