//! One generic server-side apply for every kind of child.
//!
//! A child is applied only when what is asked for, or what is there, differs from how the last
//! pass left it. "What is there" is compared without status, version counters and managed fields,
//! so that a busy controller's status reports cause no write.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use serde_json::Value;

use crate::observe::metrics::Metrics;

use super::cache::Caches;
use super::error::{ReconcileError, is_ending, readable, status_code};
use super::intrusion::removal;
use super::memory::{Applied, ClusterMemory};

/// Field manager of everything the operator applies.
pub const FIELD_MANAGER: &str = "wsc-operator";

/// What became of a child.
#[derive(Debug)]
pub enum Outcome {
    /// It was as it should be.
    Unchanged(Arc<DynamicObject>),
    /// It was created.
    Created(Arc<DynamicObject>),
    /// It was there, and was changed.
    Changed(Arc<DynamicObject>),
    /// It is being deleted; it can be made again only after that.
    Ending,
    /// The name belongs to somebody else; nothing was touched.
    Taken {
        /// Who owns it, or that nobody does.
        owner: String,
    },
    /// The API server refused it.
    Refused {
        /// The API server's sentence.
        message: String,
    },
}

impl Outcome {
    /// The object as it is now, if it is ours.
    #[must_use]
    pub fn object(&self) -> Option<&Arc<DynamicObject>> {
        match self {
            Self::Unchanged(object) | Self::Created(object) | Self::Changed(object) => Some(object),
            Self::Ending | Self::Taken { .. } | Self::Refused { .. } => None,
        }
    }
}

/// Applies the children of one resource.
pub struct Applier<'a> {
    /// Client.
    pub client: &'a Client,
    /// Watched objects.
    pub caches: &'a Caches,
    /// Metrics.
    pub metrics: &'a Metrics,
    /// Namespace of the resource.
    pub namespace: &'a str,
    /// UID of the resource, which owns its children.
    pub owner: &'a str,
}

impl Applier<'_> {
    /// Access to one kind in the namespace of the resource.
    #[must_use]
    pub fn api(&self, resource: &ApiResource) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), self.namespace, resource)
    }

    /// Makes one child as it should be.
    ///
    /// # Errors
    /// When the API server cannot be reached. Its refusals are an [`Outcome`].
    pub async fn ensure(
        &self,
        kind: &str,
        name: &str,
        desired: &Value,
        memory: &mut ClusterMemory,
    ) -> Result<Outcome, ReconcileError> {
        let Some(resource) = self.caches.kind(kind) else {
            return Err(ReconcileError::Spec(format!("{kind} is not watched")));
        };
        let asked = hash(&desired.to_string());
        let key = (kind.to_owned(), name.to_owned());
        let before = memory.applied.get(&key).copied();
        let settled = |object: &DynamicObject| {
            object.metadata.deletion_timestamp.is_none()
                && before == Some(Applied { desired: asked, live: fingerprint(object) })
        };
        if let Some(object) = self.caches.child(kind, self.namespace, name)
            && settled(&object)
        {
            return Ok(Outcome::Unchanged(object));
        }
        // The cache may lag behind our own last write, so it never decides about a write.
        let api = self.api(resource);
        let live = api.get_opt(name).await.map_err(ReconcileError::api(format!("reading {kind} {name}")))?;
        if let Some(object) = &live {
            if let Some(owner) = self.foreign_owner(object) {
                return Ok(Outcome::Taken { owner });
            }
            if object.metadata.deletion_timestamp.is_some() {
                return Ok(Outcome::Ending);
            }
        }
        let live = match live {
            Some(object) if settled(&object) => return Ok(Outcome::Unchanged(Arc::new(object))),
            other => other,
        };
        let reset = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        if let Some(patch) = live.as_ref().and_then(|live| removal(live, desired)) {
            self.metrics.wrote("patch", kind);
            // Before applying, since what was added can make ours invalid. A refusal shows again below.
            match api.patch(name, &reset, &Patch::Merge(&patch)).await {
                Ok(_) => {
                    tracing::info!(namespace = self.namespace, kind, child = name, "foreign fields removed");
                }
                Err(error) => tracing::debug!(kind, child = name, "foreign fields stay: {error}"),
            }
        }
        let mut result = apply(&api, name, desired).await;
        if live.is_some() && matches!(&result, Err(error) if status_code(error) == Some(422)) {
            // A list entry whose key was edited stays beside ours and can make the object invalid,
            // for example two ports of one name. A merge patch replaces such lists whole.
            self.metrics.wrote("patch", kind);
            if api.patch(name, &reset, &Patch::Merge(desired)).await.is_ok() {
                result = apply(&api, name, desired).await;
            }
        }
        let object = match result {
            Ok(object) => object,
            Err(error) if is_refusal(&error) && !is_ending(&error) => {
                memory.applied.remove(&key);
                return Ok(Outcome::Refused { message: readable(&error) });
            }
            Err(error) => return Err(ReconcileError::api(format!("applying {kind} {name}"))(error)),
        };
        self.metrics.applied(kind);
        let after = Applied { desired: asked, live: fingerprint(&object) };
        let untouched = live.as_ref().is_some_and(|before| fingerprint(before) == after.live);
        memory.applied.insert(key, after);
        let created = live.is_none();
        tracing::info!(namespace = self.namespace, kind, child = name, created, untouched, "applied");
        let object = Arc::new(object);
        Ok(if created {
            Outcome::Created(object)
        } else if untouched {
            Outcome::Unchanged(object)
        } else {
            Outcome::Changed(object)
        })
    }

    /// Who owns an object, when it is not our resource.
    fn foreign_owner(&self, object: &DynamicObject) -> Option<String> {
        let owners = object.metadata.owner_references.as_deref().unwrap_or_default();
        if owners.iter().any(|owner| owner.uid == self.owner) {
            return None;
        }
        Some(owners.first().map_or_else(
            || "nobody in particular".to_owned(),
            |owner| format!("{} {}", owner.kind, owner.name),
        ))
    }
}

async fn apply(api: &Api<DynamicObject>, name: &str, desired: &Value) -> Result<DynamicObject, kube::Error> {
    api.patch(name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(desired)).await
}

/// Refusals that another attempt with the same object cannot change; a conflict or an overloaded
/// server is not one. A value that cannot be read at all, such as a quantity of `lots`, is answered
/// with 500.
fn is_refusal(error: &kube::Error) -> bool {
    match status_code(error) {
        Some(400 | 403 | 404 | 405 | 413 | 415 | 422) => true,
        Some(500) => readable(error).contains("unable to convert unstructured object"),
        _ => false,
    }
}

/// What is compared between passes: everything but status and book-keeping.
#[must_use]
pub fn fingerprint(object: &DynamicObject) -> u64 {
    let mut hasher = DefaultHasher::new();
    let metadata = &object.metadata;
    metadata.uid.hash(&mut hasher);
    metadata.labels.hash(&mut hasher);
    metadata.annotations.hash(&mut hasher);
    metadata.finalizers.hash(&mut hasher);
    for owner in metadata.owner_references.as_deref().unwrap_or_default() {
        (&owner.uid, owner.controller, owner.block_owner_deletion).hash(&mut hasher);
    }
    if let Value::Object(fields) = &object.data {
        let mut names: Vec<&String> = fields.keys().filter(|name| *name != "status").collect();
        names.sort();
        for name in names {
            name.hash(&mut hasher);
            fields[name].to_string().hash(&mut hasher);
        }
    }
    hasher.finish()
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use kube::api::DynamicObject;
    use serde_json::{Value, json};

    use super::{fingerprint, is_refusal};

    fn object(change: &Value) -> DynamicObject {
        let mut base = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {
                "name": "chat", "uid": "u", "resourceVersion": "1", "generation": 1,
                "labels": {"a": "b"}, "managedFields": []
            },
            "spec": {"ports": [{"port": 80}]},
            "status": {"loadBalancer": {}}
        });
        merge(&mut base, change);
        serde_json::from_value(base).unwrap()
    }

    fn merge(base: &mut Value, change: &Value) {
        match (base, change) {
            (Value::Object(base), Value::Object(change)) => {
                for (key, value) in change {
                    merge(base.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
            (base, change) => *base = change.clone(),
        }
    }

    #[test]
    fn status_and_book_keeping_do_not_count_and_everything_else_does() {
        let base = fingerprint(&object(&json!({})));
        for same in [
            json!({"status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}}}),
            json!({"metadata": {"resourceVersion": "9", "generation": 3}}),
            json!({"metadata": {"managedFields": [{"manager": "x"}]}}),
        ] {
            assert_eq!(fingerprint(&object(&same)), base, "{same}");
        }
        for other in [
            json!({"spec": {"ports": [{"port": 81}]}}),
            json!({"spec": {"type": "NodePort"}}),
            json!({"metadata": {"labels": {"a": "c"}}}),
            json!({"metadata": {"labels": {"mine": "1"}}}),
            json!({"metadata": {"annotations": {"x": "y"}}}),
            json!({"metadata": {"uid": "other"}}),
            json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "K", "name": "n", "uid": "o"}]}}),
        ] {
            assert_ne!(fingerprint(&object(&other)), base, "{other}");
        }
    }

    #[test]
    fn only_lasting_refusals_are_reported_instead_of_retried() {
        let answer = |code, message: &str| {
            kube::Error::Api(Box::new(kube::core::Status::failure(message, "Any").with_code(code)))
        };
        for code in [400, 403, 404, 422] {
            assert!(is_refusal(&answer(code, "no")), "{code}");
        }
        for code in [409, 429, 500, 503, 504] {
            assert!(!is_refusal(&answer(code, "later")), "{code}");
        }
        let unreadable = "failed to convert new object (demo/chat; apps/v1, Kind=StatefulSet) to proper version: \
                          unable to convert unstructured object to apps/v1, Kind=StatefulSet: quantities must match";
        assert!(is_refusal(&answer(500, unreadable)));
    }
}
