//! The part of a pass that publishes events.

use crate::api::conditions;
use crate::api::status::{Phase, WscClusterStatus};

use super::children::Children;
use super::events::Action;
use super::pass::Pass;
use super::secrets::Secrets;

/// What was made, in one sentence; nothing where nothing was.
fn made(secrets: &[String], children: &[String]) -> Option<String> {
    let secrets = secrets.iter().map(|name| format!("Secret {name} with new random content"));
    let all: Vec<String> = secrets.chain(children.iter().cloned()).collect();
    (!all.is_empty()).then(|| format!("created {}", all.join(", ")))
}

impl Pass<'_> {
    /// Events about what this pass did and what it found changed.
    pub(super) async fn tell(
        &self,
        previous: &WscClusterStatus,
        next: &WscClusterStatus,
        children: &Children,
        secrets: &Secrets,
    ) {
        // One event for all: a new resource has more than a dozen children.
        if let Some(note) = made(&secrets.created, &children.created) {
            self.normal(Action::Children, "Created", note).await;
        }
        for name in &secrets.recreated {
            let note = format!(
                "Secret {name} was gone and has been created again with new random content; what used the old content must read the new one"
            );
            self.warning(Action::Children, "SecretRecreated", note).await;
        }
        for (type_, action, good) in [
            (conditions::REDIS_READY, Action::Redis, "True"),
            (conditions::SPEC_VALID, Action::Check, "True"),
            (conditions::EXPOSURE_READY, Action::Check, "True"),
            (conditions::DEGRADED, Action::Check, "False"),
            (conditions::READY, Action::Check, "True"),
        ] {
            let Some(now) = conditions::find(&next.conditions, type_) else {
                continue;
            };
            let before = conditions::find(&previous.conditions, type_);
            let was_good = before.is_none_or(|before| before.status == good);
            let is_good = now.status == good;
            let same =
                before.is_some_and(|before| before.status == now.status && before.reason == now.reason);
            // While a new cluster waits for its Redis there is nothing to warn of.
            let young = type_ == conditions::REDIS_READY && next.phase == Some(Phase::Pending);
            if same || now.status == "Unknown" || (young && !is_good) {
                continue;
            }
            if !is_good && type_ != conditions::READY {
                self.warning(action, &now.reason, now.message.clone()).await;
            } else if is_good && (!was_good || (before.is_none() && type_ == conditions::READY)) {
                let reason = if type_ == conditions::DEGRADED { "Recovered" } else { type_ };
                self.normal(action, reason, now.message.clone()).await;
            }
        }
    }

    /// Publishes an event about something that went as it should.
    pub(super) async fn normal(&self, action: Action, reason: &str, note: String) {
        let metrics = self.applier.metrics;
        self.shared.events.normal(metrics, &self.about, action, reason, note).await;
    }

    /// Publishes an event about something that needs attention.
    pub(super) async fn warning(&self, action: Action, reason: &str, note: String) {
        let metrics = self.applier.metrics;
        self.shared.events.warning(metrics, &self.about, action, reason, note).await;
    }
}

#[cfg(test)]
mod tests {
    use super::made;

    #[test]
    fn all_that_was_made_is_told_at_once() {
        assert_eq!(made(&[], &[]), None);
        let note =
            made(&["chat-api".to_owned()], &["Service chat".to_owned(), "StatefulSet chat".to_owned()]);
        let expected = "created Secret chat-api with new random content, Service chat, StatefulSet chat";
        assert_eq!(note.as_deref(), Some(expected));
    }
}
