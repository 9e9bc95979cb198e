//! Tells the registry when all of this node stands there.

use std::sync::Arc;

use parking_lot::Mutex;

use super::ports::Directory;

/// What a node has to write after each registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Its connections.
    Connections,
    /// Its groups.
    Groups,
}

/// The epochs in which a part was last written as a whole.
#[derive(Debug, Default)]
struct Written {
    connections: u64,
    groups: u64,
}

impl Written {
    /// Whether now both parts were written in this epoch. Pure.
    fn note(&mut self, part: Part, epoch: u64) -> bool {
        match part {
            Part::Connections => self.connections = epoch,
            Part::Groups => self.groups = epoch,
        }
        self.connections == epoch && self.groups == epoch
    }
}

/// Collects what was written. Only when both parts are there, their absence in the registry means anything.
pub struct Assertion {
    directory: Arc<dyn Directory>,
    written: Mutex<Written>,
}

impl Assertion {
    /// Nothing was written yet.
    #[must_use]
    pub fn new(directory: Arc<dyn Directory>) -> Self {
        Self { directory, written: Mutex::default() }
    }

    /// All of a part was written in this epoch of the registration.
    pub async fn note(&self, part: Part, epoch: u64) {
        let whole = self.written.lock().note(part, epoch);
        if whole {
            self.directory.asserted(epoch).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Part::*, *};

    #[test]
    fn a_node_stands_in_the_registry_once_both_parts_were_written_in_one_epoch() {
        let mut written = Written::default();
        let steps = [
            (Connections, 1, false),
            (Groups, 1, true),
            (Groups, 2, false),
            (Connections, 3, false),
            (Groups, 3, true),
            (Connections, 3, true),
        ];
        for (part, epoch, whole) in steps {
            assert_eq!(written.note(part, epoch), whole, "{part:?} {epoch}");
        }
    }
}
