//! Events on the resource, each fact once.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use parking_lot::Mutex;

use crate::observe::metrics::Metrics;

/// The same sentence about the same resource is not repeated within this time.
const REPEAT_AFTER: Duration = Duration::from_secs(3600);

/// Sentences remembered at most; beyond it the oldest may be repeated early.
const REMEMBERED: usize = 4096;

/// Why events are published; also the `action` field of the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A child was made or removed.
    Children,
    /// Pods are added, removed or replaced.
    Pods,
    /// Redis changed for better or worse.
    Redis,
    /// The spec or something it names is wrong.
    Check,
}

impl Action {
    fn word(self) -> &'static str {
        match self {
            Self::Children => "ReconcileChildren",
            Self::Pods => "OperatePods",
            Self::Redis => "ObserveRedis",
            Self::Check => "CheckSpec",
        }
    }
}

/// Publishes events.
pub struct Events {
    recorder: Recorder,
    said: Mutex<HashMap<(String, String), Instant>>,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Events").finish_non_exhaustive()
    }
}

impl Events {
    /// Events reported by this replica.
    #[must_use]
    pub fn new(client: Client, identity: String) -> Self {
        Self {
            recorder: Recorder::new(
                client,
                Reporter {
                    controller: "wsc-operator".to_owned(),
                    instance: Some(identity),
                },
            ),
            said: Mutex::new(HashMap::new()),
        }
    }

    /// Something went as it should.
    pub async fn normal(
        &self,
        metrics: &Metrics,
        about: &ObjectReference,
        action: Action,
        reason: &str,
        note: String,
    ) {
        self.publish(metrics, EventType::Normal, about, action, reason, note)
            .await;
    }

    /// Something needs attention.
    pub async fn warning(
        &self,
        metrics: &Metrics,
        about: &ObjectReference,
        action: Action,
        reason: &str,
        note: String,
    ) {
        self.publish(metrics, EventType::Warning, about, action, reason, note)
            .await;
    }

    async fn publish(
        &self,
        metrics: &Metrics,
        type_: EventType,
        about: &ObjectReference,
        action: Action,
        reason: &str,
        note: String,
    ) {
        let fact = (
            about.uid.clone().unwrap_or_default(),
            format!("{reason} {note}"),
        );
        if !remember(&mut self.said.lock(), fact, Instant::now()) {
            return;
        }
        // The API server refuses notes over 1 kB.
        let note: String = note.chars().take(900).collect();
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note),
            action: action.word().to_owned(),
            secondary: None,
        };
        metrics.wrote("create", "Event");
        if let Err(error) = self.recorder.publish(&event, about).await {
            tracing::warn!(reason, "event not published: {error}");
        }
    }
}

/// Remembers a fact. False when it was said already not long ago.
fn remember(
    said: &mut HashMap<(String, String), Instant>,
    fact: (String, String),
    now: Instant,
) -> bool {
    if said.len() >= REMEMBERED {
        said.retain(|_, at| now.duration_since(*at) < REPEAT_AFTER);
    }
    if said.len() >= REMEMBERED {
        said.clear();
    }
    match said.get(&fact) {
        Some(at) if now.duration_since(*at) < REPEAT_AFTER => false,
        _ => {
            said.insert(fact, now);
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::{Duration, Instant};

    use super::{REMEMBERED, REPEAT_AFTER, remember};

    #[test]
    fn a_fact_is_said_once_an_hour_and_the_memory_is_bounded() {
        let mut said = HashMap::new();
        let start = Instant::now();
        let fact = || ("uid".to_owned(), "Created Service chat".to_owned());
        assert!(remember(&mut said, fact(), start));
        assert!(!remember(&mut said, fact(), start + Duration::from_secs(60)));
        assert!(remember(&mut said, fact(), start + REPEAT_AFTER));
        for number in 0..2 * REMEMBERED {
            remember(&mut said, ("uid".into(), number.to_string()), start);
        }
        assert!(said.len() <= REMEMBERED);
    }
}
