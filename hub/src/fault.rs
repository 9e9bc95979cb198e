//! Faults that a test puts into the nodes of its process, one at a time, to see that they are found. Compiled for tests
//! only: every place that asks is under `cfg(test)` as well.

use std::cell::Cell;

/// What a node does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A connection is written to the user's hash and not to the node's index.
    NoIndexOnConnect,
    /// A user leaves the index before the hash, so that a crash in between leaves a ghost.
    IndexRemovedFirst,
    /// What another node said about a user overwrites what is newer.
    VersionIgnored,
    /// A lease that missed a heartbeat counts as dead.
    ReapedTooEarly,
    /// A sweep takes the entries of every life of the node.
    SweepOfEveryLife,
    /// The end of a connection is not written.
    DisconnectNotWritten,
    /// A changed marker of the registry makes nobody write anything again.
    MarkerIgnored,
    /// The connect script does not look at bans.
    BanNotChecked,
    /// A kick reads where the user is before it writes the ban.
    HashReadBeforeBan,
    /// A node whose lease lapsed goes on under the same incarnation.
    LapsedLifeKept,
    /// The reaper tells who went offline after it has emptied the index.
    EventAfterIndex,
    /// Connections that a new one replaces are not closed.
    VictimsNotClosed,
}

thread_local! {
    static HERE: Cell<Option<Fault>> = const { Cell::new(None) };
}

/// Puts a fault into everything that runs on this thread from now on.
pub(crate) fn seed(fault: Option<Fault>) {
    HERE.set(fault);
}

/// Whether this thread has that fault.
pub(crate) fn is(fault: Fault) -> bool {
    HERE.get() == Some(fault)
}
