//! The hub StatefulSet, reduced to what decisions need.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;

use super::pod::{hub_container, redis_wiring};

/// Annotation on the StatefulSet: the operator release whose template it carries.
pub const TEMPLATE_VERSION: &str = "wsc.dev/template-version";

/// The hub StatefulSet as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fleet {
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
}

impl Fleet {
    /// Reads a StatefulSet.
    #[must_use]
    pub fn read(set: &StatefulSet) -> Self {
        let spec = set.spec.as_ref();
        let pod = spec.and_then(|spec| spec.template.spec.as_ref());
        let status = set.status.as_ref();
        Self {
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
            template_version: set
                .metadata
                .annotations
                .as_ref()
                .and_then(|annotations| annotations.get(TEMPLATE_VERSION).cloned()),
            redis_wiring: pod.map(redis_wiring).unwrap_or_default(),
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
