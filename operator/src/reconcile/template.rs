//! The pod template that the StatefulSet gets, where it is not that of the spec: the last good one while the spec's does
//! not come up, and the old one while more pods are being made.

use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use kube::api::Api;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::observed::fleet::{Fleet, HELD_BACK, HeldBack};
use crate::plan::wish::Wish;

use super::apply::Applier;
use super::error::ReconcileError;

/// Another template than the spec's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateHold {
    /// The template.
    template: Value,
    /// Set when it is the last good one.
    held_back: Option<HeldBack>,
    /// Whether it stays whatever the spec says: a scale-up goes first.
    unconditional: bool,
}

impl TemplateHold {
    /// The last good template, in place of one that did not come up.
    #[must_use]
    pub fn put_back(template: Value, held_back: HeldBack) -> Self {
        Self { template, held_back: Some(held_back), unconditional: false }
    }

    /// What holds for a StatefulSet as it is now. `known` is what held before, which saves reading the revision again.
    ///
    /// # Errors
    /// When the revision cannot be read.
    pub async fn of(
        applier: &Applier<'_>,
        running: Option<&StatefulSet>,
        wish: &Wish,
        scaling_up: bool,
        known: Option<Self>,
    ) -> Result<Option<Self>, ReconcileError> {
        let Some(set) = running else { return Ok(None) };
        let fleet = Fleet::read(set);
        // New pods are made of the template that is known to work; it is replaced once the controller has made them.
        let more = fleet.replicas > 0 && wish.replicas > fleet.replicas;
        if more || (scaling_up && !fleet.current) {
            let template = live(set)?;
            return Ok(Some(Self { template, held_back: fleet.held_back, unconditional: true }));
        }
        let Some(held) = fleet.held_back else { return Ok(None) };
        if known.as_ref().is_some_and(|known| !known.unconditional && known.held_back.as_ref() == Some(&held))
        {
            return Ok(known);
        }
        let template = match of_revision(applier, &held.revision).await? {
            Some(template) => template,
            None => live(set)?,
        };
        Ok(Some(Self::put_back(template, held)))
    }

    /// Puts the template into a StatefulSet as the spec makes it, unless the spec asks for another one by now.
    pub fn impose(&self, set: &mut Value) {
        let refused = self.held_back.as_ref().map(|held| held.refused.as_str());
        if !self.unconditional && refused != Some(fingerprint(&set["spec"]["template"]).as_str()) {
            return;
        }
        set["spec"]["template"] = self.template.clone();
        if let Some(held) = &self.held_back {
            set["metadata"]["annotations"][HELD_BACK] = json!(json!(held).to_string());
        }
    }
}

/// Name of a template that is the same in every run of the operator.
#[must_use]
pub fn fingerprint(template: &Value) -> String {
    let hash = Sha256::digest(template.to_string());
    hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// The template of a revision; `None` when there is no such revision any more.
///
/// # Errors
/// When the API server cannot be reached or refuses.
pub async fn of_revision(applier: &Applier<'_>, name: &str) -> Result<Option<Value>, ReconcileError> {
    let api = Api::<ControllerRevision>::namespaced(applier.client.clone(), applier.namespace);
    let found =
        api.get_opt(name).await.map_err(ReconcileError::api(format!("reading ControllerRevision {name}")))?;
    Ok(found.and_then(|revision| template_in(&revision)))
}

fn template_in(revision: &ControllerRevision) -> Option<Value> {
    let mut template = revision.data.as_ref()?.0.pointer("/spec/template")?.clone();
    // An instruction to the controller, no field of a template.
    template.as_object_mut()?.remove("$patch");
    without_nulls(&mut template);
    Some(template)
}

fn live(set: &StatefulSet) -> Result<Value, ReconcileError> {
    let template = set.spec.as_ref().map(|spec| &spec.template);
    let mut template = serde_json::to_value(template)
        .map_err(|source| ReconcileError::Json { what: "the running pod template".to_owned(), source })?;
    without_nulls(&mut template);
    Ok(template)
}

/// `creationTimestamp: null` and its like are what the controller writes for "not given".
fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{HeldBack, TemplateHold, fingerprint, template_in};

    fn spec_made(image: &str) -> Value {
        json!({"metadata": {"annotations": {}}, "spec": {"replicas": 3, "template": {"image": image}}})
    }

    fn held(image: &str) -> TemplateHold {
        let refused = fingerprint(&spec_made(image)["spec"]["template"]);
        let held = HeldBack { refused, revision: "r1".into(), pod: "chat-2".into(), cause: "x".into() };
        TemplateHold::put_back(json!({"image": "good"}), held)
    }

    #[test]
    fn the_good_template_stands_in_for_the_refused_one_and_for_no_other() {
        let mut refused = spec_made("bad");
        held("bad").impose(&mut refused);
        assert_eq!(refused["spec"], json!({"replicas": 3, "template": {"image": "good"}}));
        let note = refused["metadata"]["annotations"][super::HELD_BACK].as_str().unwrap();
        assert_eq!(serde_json::from_str::<HeldBack>(note).unwrap().pod, "chat-2");

        let mut corrected = spec_made("better");
        held("bad").impose(&mut corrected);
        assert_eq!(corrected, spec_made("better"));
    }

    #[test]
    fn a_scale_up_keeps_any_template_and_what_is_on_record() {
        let mut next = spec_made("new");
        let hold = TemplateHold { template: json!({"image": "old"}), held_back: None, unconditional: true };
        hold.impose(&mut next);
        assert_eq!(next["spec"]["template"], json!({"image": "old"}));
        assert_eq!(next["metadata"]["annotations"], json!({}));
    }

    #[test]
    fn the_template_of_a_revision_is_read_without_the_controllers_marks() {
        let revision = serde_json::from_value(json!({
            "metadata": {"name": "chat-1"}, "revision": 1,
            "data": {"spec": {"template": {
                "$patch": "replace", "metadata": {"creationTimestamp": null, "labels": {"a": "b"}},
                "spec": {"containers": [{"name": "hub"}]}
            }}}
        }))
        .unwrap();
        assert_eq!(
            template_in(&revision).unwrap(),
            json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "hub"}]}})
        );
    }
}
