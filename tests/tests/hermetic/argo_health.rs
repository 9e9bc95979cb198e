//! What Argo CD shows for a resource.

use anyhow::Result;
use serde_json::{Value, json};
use wsc_tests::argo_health::ArgoHealth;

/// A resource of generation 3 whose status has these conditions, by type, status and message.
fn resource(phase: &str, observed: i64, conditions: &[(&str, &str, &str)]) -> Value {
    let conditions: Vec<Value> = conditions
        .iter()
        .map(|(kind, status, message)| json!({"type": kind, "status": status, "message": message}))
        .collect();
    json!({
        "metadata": {"name": "chat", "generation": 3},
        "status": {"phase": phase, "observedGeneration": observed, "conditions": conditions}
    })
}

#[test]
fn every_state_of_a_resource_is_shown_as_what_it_is() -> Result<()> {
    let good = [("Ready", "True", "all is well"), ("SpecValid", "True", "yes"), ("Degraded", "False", "no")];
    let rows = [
        (
            "nobody has looked",
            json!({"metadata": {"generation": 1}}),
            "Progressing",
            "Waiting for the operator",
        ),
        (
            "the status a new resource has",
            json!({"metadata": {"generation": 1}, "status": {"observedGeneration": -1}}),
            "Progressing",
            "Waiting for the operator",
        ),
        ("ready", resource("Ready", 3, &good), "Healthy", "all is well"),
        ("ready for an earlier spec", resource("Ready", 2, &good), "Progressing", "Waiting"),
        (
            "a rollout",
            resource(
                "Progressing",
                3,
                &[("Ready", "False", "x"), ("Progressing", "True", "replacing chat-2")],
            ),
            "Progressing",
            "replacing chat-2",
        ),
        (
            "a rollout of a degraded cluster",
            resource("Degraded", 3, &[("Progressing", "True", "p"), ("Degraded", "True", "Redis is away")]),
            "Degraded",
            "Redis is away",
        ),
        (
            "stuck",
            resource("Degraded", 3, &[("Ready", "False", "x"), ("Stalled", "True", "cannot pull")]),
            "Degraded",
            "cannot pull",
        ),
        (
            "a spec that cannot work",
            resource("Invalid", 3, &[("SpecValid", "False", "Secret login is missing")]),
            "Degraded",
            "Secret login is missing",
        ),
        ("paused", resource("Paused", 3, &[("Ready", "Unknown", "paused")]), "Suspended", "paused"),
        (
            "about to stop",
            resource("Stopped", 3, &[("Ready", "False", "x"), ("Progressing", "True", "2 left")]),
            "Progressing",
            "2 left",
        ),
        (
            "stopped",
            resource("Stopped", 3, &[("Ready", "False", "stopped"), ("Progressing", "False", "idle")]),
            "Suspended",
            "stopped",
        ),
        (
            "not registered yet",
            resource("Progressing", 3, &[("Ready", "False", "1 node is not registered")]),
            "Progressing",
            "1 node is not registered",
        ),
    ];
    for (what, resource, status, message) in rows {
        let health = ArgoHealth::of(&resource)?;
        assert_eq!(health.status, status, "{what}: {health:?}");
        assert!(health.message.contains(message), "{what}: {health:?}");
    }
    Ok(())
}
