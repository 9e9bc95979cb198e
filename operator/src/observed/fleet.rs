//! The hub StatefulSet, reduced to what decisions need.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use serde::{Deserialize, Serialize};

use super::pod::{hub_container, redis_wiring};

/// Annotation on the StatefulSet: the operator release whose template it carries.
pub const TEMPLATE_VERSION: &str = "wsc.dev/template-version";

/// Annotation on the StatefulSet: why the template of the spec is not the one it carries.
pub const HELD_BACK: &str = "wsc.dev/held-back";

/// A template that did not come up. It stays on record, on the StatefulSet, until the spec asks for another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBack {
    /// Hash of the refused template, as the spec makes it.
    pub refused: String,
    /// Name of the ControllerRevision whose template was put back.
    pub revision: String,
    /// The pod that did not come up.
    pub pod: String,
    /// Why it did not.
    pub cause: String,
}

/// The hub StatefulSet as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fleet {
    /// Name; that of a pod is this, a dash and its ordinal.
    pub name: String,
    /// Replicas asked of the StatefulSet controller.
    pub replicas: i32,
    /// Whether the StatefulSet controller has seen the latest template.
    pub current: bool,
    /// Revision of the latest template; `None` until the controller has reported one.
    pub update_revision: Option<String>,
    /// Image in the template.
    pub image: String,
    /// Operator release that made the template.
    pub template_version: Option<String>,
    /// The Redis wiring of the template.
    pub redis_wiring: BTreeMap<String, String>,
    /// Set while the template is not the one that the spec asks for.
    pub held_back: Option<HeldBack>,
}

impl Fleet {
    /// Reads a StatefulSet.
    #[must_use]
    pub fn read(set: &StatefulSet) -> Self {
        let spec = set.spec.as_ref();
        let pod = spec.and_then(|spec| spec.template.spec.as_ref());
        let status = set.status.as_ref();
        let annotation = |key: &str| set.metadata.annotations.as_ref().and_then(|all| all.get(key));
        Self {
            name: set.metadata.name.clone().unwrap_or_default(),
            replicas: spec.and_then(|spec| spec.replicas).unwrap_or(1),
            current: set.metadata.generation.is_some()
                && status.and_then(|status| status.observed_generation) == set.metadata.generation,
            update_revision: status
                .and_then(|status| status.update_revision.clone())
                .filter(|revision| !revision.is_empty()),
            image: pod
                .and_then(hub_container)
                .and_then(|container| container.image.clone())
                .unwrap_or_default(),
            template_version: annotation(TEMPLATE_VERSION).cloned(),
            redis_wiring: pod.map(redis_wiring).unwrap_or_default(),
            // Somebody who edits it into nonsense asks for the template of the spec.
            held_back: annotation(HELD_BACK).and_then(|text| serde_json::from_str(text).ok()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Fleet;
    use serde_json::json;

    #[test]
    fn a_lagging_controller_is_not_current() {
        let read = |observed: i64| {
            Fleet::read(
                &serde_json::from_value(json!({
                    "metadata": {"generation": 4},
                    "spec": {
                        "replicas": 3, "serviceName": "n", "selector": {},
                        "template": {"spec": {"containers": [{"name": "hub", "image": "hub:1"}]}}
                    },
                    "status": {"replicas": 3, "observedGeneration": observed, "updateRevision": "r4"}
                }))
                .unwrap(),
            )
        };
        assert!(!read(3).current);
        let fleet = read(4);
        assert!(fleet.current);
        assert_eq!((fleet.replicas, fleet.image.as_str()), (3, "hub:1"));
        assert_eq!(fleet.update_revision.as_deref(), Some("r4"));
    }
}
