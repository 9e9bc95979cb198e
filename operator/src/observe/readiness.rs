//! Whether the process does its work, for `/readyz`.

use std::collections::BTreeSet;

use parking_lot::Mutex;

/// What the process is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    Starting,
    StandingBy,
    Leading,
    Stopping,
}

#[derive(Debug)]
struct State {
    stage: Stage,
    pending: BTreeSet<String>,
}

/// Shared between the parts that start and the HTTP route that tells.
#[derive(Debug)]
pub struct Readiness {
    state: Mutex<State>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self { state: Mutex::new(State { stage: Stage::Starting, pending: BTreeSet::new() }) }
    }
}

impl Readiness {
    /// Another replica leads; this one is ready to take over.
    pub fn standing_by(&self) {
        let mut state = self.state.lock();
        state.stage = Stage::StandingBy;
        state.pending.clear();
    }

    /// This replica leads.
    pub fn leading(&self) {
        self.state.lock().stage = Stage::Leading;
    }

    /// The process is going away.
    pub fn stopping(&self) {
        self.state.lock().stage = Stage::Stopping;
    }

    /// Something must happen before the work can be done, for example a cache to fill.
    pub fn wait_for(&self, what: impl Into<String>) {
        self.state.lock().pending.insert(what.into());
    }

    /// It has happened.
    pub fn done(&self, what: &str) {
        self.state.lock().pending.remove(what);
    }

    /// Whether the process is ready, and a sentence about it.
    #[must_use]
    pub fn report(&self) -> (bool, String) {
        let state = self.state.lock();
        let pending = state.pending.iter().cloned().collect::<Vec<_>>().join(", ");
        match state.stage {
            Stage::Starting => (false, "starting".to_owned()),
            Stage::StandingBy => (true, "standing by: another replica leads".to_owned()),
            Stage::Leading if pending.is_empty() => (true, "leading".to_owned()),
            Stage::Leading => (false, format!("waiting for {pending}")),
            Stage::Stopping => (false, "stopping".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Readiness;

    #[test]
    fn a_leader_is_ready_once_nothing_is_pending() {
        let readiness = Readiness::default();
        assert!(!readiness.report().0);
        readiness.standing_by();
        assert!(readiness.report().0);
        readiness.wait_for("pods");
        readiness.leading();
        assert_eq!(readiness.report(), (false, "waiting for pods".to_owned()));
        readiness.done("pods");
        assert!(readiness.report().0);
        readiness.stopping();
        assert!(!readiness.report().0);
    }
}
