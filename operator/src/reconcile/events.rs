//! Events on the resource, each fact once.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use parking_lot::Mutex;

use crate::observe::metrics::Metrics;

use super::error::{is_ending, readable};

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

/// Publishes events. kube's recorder is not used: it folds events that differ only in their note
/// into one, which then tells the first note for all.
pub struct Events {
    client: Client,
    identity: String,
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
        Self { client, identity, said: Mutex::new(HashMap::new()) }
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
        self.publish(metrics, "Normal", about, action, reason, note).await;
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
        self.publish(metrics, "Warning", about, action, reason, note).await;
    }

    async fn publish(
        &self,
        metrics: &Metrics,
        type_: &str,
        about: &ObjectReference,
        action: Action,
        reason: &str,
        note: String,
    ) {
        let fact = (about.uid.clone().unwrap_or_default(), format!("{reason} {note}"));
        if !remember(&mut self.said.lock(), fact, Instant::now()) {
            return;
        }
        // The API server refuses notes over 1 kB.
        let note: String = note.chars().take(900).collect();
        let namespace = about.namespace.clone().unwrap_or_default();
        let now = Timestamp::now();
        let event = Event {
            metadata: ObjectMeta {
                name: Some(format!("{}.{:x}", about.name.as_deref().unwrap_or("wsc"), now.as_nanosecond())),
                namespace: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            type_: Some(type_.to_owned()),
            reason: Some(reason.to_owned()),
            note: Some(note),
            action: Some(action.word().to_owned()),
            regarding: Some(about.clone()),
            event_time: Some(MicroTime(now)),
            reporting_controller: Some("wsc-operator".to_owned()),
            reporting_instance: Some(self.identity.clone()),
            ..Event::default()
        };
        metrics.wrote("create", "Event");
        let api = Api::<Event>::namespaced(self.client.clone(), &namespace);
        if let Err(error) = api.create(&PostParams::default(), &event).await {
            let cause = readable(&error);
            if is_ending(&error) {
                tracing::debug!(reason, "event not published: {cause}");
            } else {
                tracing::warn!(reason, "event not published: {cause}");
            }
        }
    }
}

/// Remembers a fact. False when it was said already not long ago.
fn remember(said: &mut HashMap<(String, String), Instant>, fact: (String, String), now: Instant) -> bool {
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
