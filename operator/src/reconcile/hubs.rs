//! Asking the hubs, and remembering what they said.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use futures::future::join_all;
use k8s_openapi::jiff::Timestamp;

use crate::hub_admin::port::HubAdmin;
use crate::observe::metrics::Metrics;
use crate::observed::hub::{HubReport, HubView, NodeEntry, registered, witnesses};
use crate::observed::pod::HubPod;

/// Pause between questions while an operation is under way.
pub const DURING_OPERATION: Duration = Duration::from_secs(1);

/// Pause between questions while something is not as it should be.
pub const WHILE_UNSETTLED: Duration = Duration::from_secs(2);

/// Pause between questions otherwise.
pub const WHEN_QUIET: Duration = Duration::from_secs(30);

/// So long after the hot settings were written a node may still get what was there before them, and say so: from a kubelet
/// that had not heard of them, with the pause after which a hub looks at its file.
const SETTINGS_PASS: Duration = Duration::from_secs(3);

/// What the hubs said last.
#[derive(Debug, Default)]
pub struct HubMemory {
    /// By pod UID.
    pub views: BTreeMap<String, HubView>,
    /// Ids of the nodes that the registered nodes list; `None` when none of them answered.
    pub listed: Option<BTreeSet<String>>,
    asked: Option<Instant>,
    /// When the hot settings were written last.
    written: Option<Instant>,
    /// Pause until the next question, set by the last pass.
    pub pause: Duration,
}

impl HubMemory {
    /// Something was done to a hub: the next pass asks anew.
    pub fn expire(&mut self) {
        self.asked = None;
    }

    /// The hot settings were written. What nodes said of theirs before is void, even where it is what is wanted now: when
    /// somebody changes his mind twice, a node may have something else in between.
    pub fn settings_written(&mut self, now: Instant) {
        self.written = Some(now);
        for view in self.views.values_mut() {
            view.answer = view.answer.clone().map(silent_about_settings);
        }
    }

    /// A report without what cannot be believed yet.
    fn believed(&self, report: HubReport, now: Instant) -> HubReport {
        let early = self.written.is_some_and(|written| now.duration_since(written) < SETTINGS_PASS);
        if early { silent_about_settings(report) } else { report }
    }

    /// Whether it is time to ask: a running pod is unknown, or the pause is over.
    #[must_use]
    pub fn is_due(&self, pods: &[HubPod], now: Instant) -> bool {
        let unknown = pods.iter().any(|pod| can_answer(pod) && !self.views.contains_key(&pod.uid));
        unknown || self.asked.is_none_or(|asked| now.duration_since(asked) + SLACK >= self.pause)
    }
}

/// A pass scheduled for the end of the pause may come a little early.
const SLACK: Duration = Duration::from_millis(50);

fn silent_about_settings(report: HubReport) -> HubReport {
    HubReport { hot_hash: None, hot_error: None, ..report }
}

fn can_answer(pod: &HubPod) -> bool {
    pod.running && pod.ip.is_some()
}

/// Asks every running hub for its status, and two registered ones who else is.
///
/// `key` is the admin key, or why there is none.
pub async fn ask(
    admin: &dyn HubAdmin,
    metrics: &Metrics,
    key: Result<&str, &str>,
    pods: &[HubPod],
    memory: &mut HubMemory,
) {
    let targets: Vec<(&HubPod, IpAddr)> = pods
        .iter()
        .filter(|pod| can_answer(pod))
        .filter_map(|pod| Some((pod, pod.ip.as_ref()?.parse().ok()?)))
        .collect();
    let began = Instant::now();
    let answers: Vec<Result<HubReport, String>> = match key {
        Err(why) => vec![Err(why.to_owned()); targets.len()],
        Ok(key) => {
            join_all(targets.iter().map(|(pod, ip)| async move {
                let answer = admin.status(*ip, key).await.map_err(|error| error.to_string());
                metrics.hub_call(answer.is_ok());
                answer.and_then(|report| same_pod(pod, report))
            }))
            .await
        }
    };
    let reports: BTreeMap<String, HubReport> = targets
        .iter()
        .zip(&answers)
        .filter_map(|((pod, _), answer)| Some((pod.name.clone(), answer.as_ref().ok()?.clone())))
        .collect();
    let rosters = match key {
        Ok(key) => rosters(admin, metrics, key, &targets, &reports).await,
        Err(_) => BTreeMap::new(),
    };
    let registered = registered(&reports, &rosters);
    memory.listed =
        (!rosters.is_empty()).then(|| rosters.values().flatten().map(|entry| entry.id.clone()).collect());
    let now = Timestamp::now();
    let mut views = BTreeMap::new();
    for ((pod, _), answer) in targets.iter().zip(answers) {
        let registered = registered.contains(&pod.name);
        let before = memory.views.get(&pod.uid);
        let absent_since =
            if registered { None } else { Some(before.and_then(|view| view.absent_since).unwrap_or(now)) };
        if let Err(error) = &answer
            && before.is_none_or(|view| view.answer.is_ok())
        {
            tracing::info!(pod = pod.name, "hub does not answer: {error}");
        }
        let answer = answer.map(|report| memory.believed(report, began));
        let view = HubView { answer, registered, absent_since };
        views.insert(pod.uid.clone(), view);
    }
    memory.views = views;
    memory.asked = Some(Instant::now());
}

/// An address can pass to another pod between the watch and the question.
fn same_pod(pod: &HubPod, report: HubReport) -> Result<HubReport, String> {
    if report.pod_uid.is_empty() || report.pod_uid == pod.uid {
        Ok(report)
    } else {
        Err(format!("the address of {} answers for another pod ({})", pod.name, report.pod_uid))
    }
}

async fn rosters(
    admin: &dyn HubAdmin,
    metrics: &Metrics,
    key: &str,
    targets: &[(&HubPod, IpAddr)],
    reports: &BTreeMap<String, HubReport>,
) -> BTreeMap<String, Vec<NodeEntry>> {
    let witnesses = witnesses(reports);
    let asked = targets.iter().filter(|(pod, _)| witnesses.contains(&pod.name)).map(|(pod, ip)| async move {
        let answer = admin.nodes(*ip, key).await;
        metrics.hub_call(answer.is_ok());
        answer.ok().map(|entries| (pod.name.clone(), entries))
    });
    join_all(asked).await.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::IpAddr;
    use std::time::{Duration, Instant};

    use futures::FutureExt;
    use futures::future::BoxFuture;
    use k8s_openapi::jiff::Timestamp;

    use super::{HubMemory, ask};
    use crate::hub_admin::port::{DrainCall, HubAdmin, HubAdminError, RebalanceCall};
    use crate::observe::metrics::Metrics;
    use crate::observed::hub::{HubReport, NodeEntry};
    use crate::observed::pod::HubPod;

    /// Hubs by address: what each says of itself; silent when absent. All list the same nodes.
    struct Played {
        hubs: BTreeMap<IpAddr, HubReport>,
        roster: Vec<NodeEntry>,
    }

    impl HubAdmin for Played {
        fn status<'a>(&'a self, ip: IpAddr, _: &'a str) -> BoxFuture<'a, Result<HubReport, HubAdminError>> {
            let answer = self.hubs.get(&ip).cloned().ok_or(HubAdminError::Silent {
                address: ip.to_string(),
                path: "/admin/status",
                cause: "refused".into(),
            });
            async move { answer }.boxed()
        }

        fn nodes<'a>(
            &'a self,
            _: IpAddr,
            _: &'a str,
        ) -> BoxFuture<'a, Result<Vec<NodeEntry>, HubAdminError>> {
            let roster = self.roster.clone();
            async move { Ok(roster) }.boxed()
        }

        fn drain<'a>(
            &'a self,
            _: IpAddr,
            _: &'a str,
            _: &'a DrainCall,
        ) -> BoxFuture<'a, Result<(), HubAdminError>> {
            async { Ok(()) }.boxed()
        }

        fn cancel_drain<'a>(&'a self, _: IpAddr, _: &'a str) -> BoxFuture<'a, Result<(), HubAdminError>> {
            async { Ok(()) }.boxed()
        }

        fn rebalance<'a>(
            &'a self,
            _: IpAddr,
            _: &'a str,
            _: &'a RebalanceCall,
        ) -> BoxFuture<'a, Result<(), HubAdminError>> {
            async { Ok(()) }.boxed()
        }
    }

    fn pod(ordinal: i32) -> HubPod {
        HubPod {
            name: format!("chat-{ordinal}"),
            uid: format!("uid-{ordinal}"),
            ordinal,
            ip: Some(format!("10.0.0.{ordinal}")),
            revision: "r".into(),
            terminating: false,
            deletion: None,
            ready: true,
            ready_changed: Timestamp::UNIX_EPOCH,
            running: true,
            fault: None,
            redis_wiring: BTreeMap::new(),
        }
    }

    fn report(uid: &str, incarnation: &str) -> HubReport {
        serde_json::from_value(serde_json::json!({
            "phase": "active", "registered": true, "redis": "up",
            "pod_uid": uid, "incarnation": incarnation,
        }))
        .unwrap()
    }

    fn entry(id: &str, incarnation: &str) -> NodeEntry {
        NodeEntry { id: id.into(), incarnation: incarnation.into(), status: "active".into() }
    }

    #[tokio::test]
    async fn answers_silence_and_foreign_pods_are_told_apart() {
        let played = Played {
            hubs: BTreeMap::from([
                ("10.0.0.0".parse().unwrap(), report("uid-0", "a")),
                ("10.0.0.1".parse().unwrap(), report("uid-1", "b")),
                ("10.0.0.3".parse().unwrap(), report("somebody-else", "d")),
            ]),
            roster: vec![entry("chat-0", "a"), entry("chat-1", "b")],
        };
        let pods = [pod(0), pod(1), pod(2), pod(3)];
        let mut memory = HubMemory::default();
        let metrics = Metrics::default();
        ask(&played, &metrics, Ok("k"), &pods, &mut memory).await;
        assert_eq!(memory.listed, Some(["chat-0".to_owned(), "chat-1".to_owned()].into()));
        assert!(memory.views["uid-0"].registered && memory.views["uid-1"].registered);
        assert!(memory.views["uid-2"].answer.is_err());
        assert!(memory.views["uid-3"].answer.as_ref().unwrap_err().contains("another pod"));
        let since = memory.views["uid-2"].absent_since;
        assert!(since.is_some());
        ask(&played, &metrics, Ok("k"), &pods, &mut memory).await;
        assert_eq!(memory.views["uid-2"].absent_since, since, "absence keeps its beginning");
    }

    #[tokio::test]
    async fn what_nodes_say_of_their_settings_counts_only_some_time_after_these_were_written() {
        let says = HubReport { hot_hash: Some("wanted".into()), ..report("uid-0", "a") };
        let played = Played {
            hubs: BTreeMap::from([("10.0.0.0".parse().unwrap(), says)]),
            roster: vec![entry("chat-0", "a")],
        };
        let (pods, metrics) = ([pod(0)], Metrics::default());
        let mut memory = HubMemory::default();
        let hash = |memory: &HubMemory| memory.views["uid-0"].report().unwrap().hot_hash.clone();
        ask(&played, &metrics, Ok("k"), &pods, &mut memory).await;
        assert!(hash(&memory).is_some());
        let now = Instant::now();
        memory.settings_written(now);
        assert_eq!(hash(&memory), None, "it was said before");
        ask(&played, &metrics, Ok("k"), &pods, &mut memory).await;
        assert_eq!(hash(&memory), None, "the node may still get what was there before");
        assert!(memory.views["uid-0"].registered, "all else counts");
        memory.settings_written(now.checked_sub(Duration::from_secs(3)).unwrap());
        ask(&played, &metrics, Ok("k"), &pods, &mut memory).await;
        assert_eq!(hash(&memory).as_deref(), Some("wanted"));
    }

    #[tokio::test]
    async fn without_a_key_every_hub_is_unknown_and_the_reason_is_kept() {
        let played = Played { hubs: BTreeMap::new(), roster: Vec::new() };
        let mut memory = HubMemory::default();
        ask(&played, &Metrics::default(), Err("Secret x is missing"), &[pod(0)], &mut memory).await;
        assert_eq!(memory.views["uid-0"].answer, Err("Secret x is missing".to_owned()));
    }

    #[test]
    fn a_new_pod_is_asked_at_once_and_a_known_one_after_the_pause() {
        let now = Instant::now();
        let mut memory = HubMemory { pause: Duration::from_secs(30), ..HubMemory::default() };
        assert!(memory.is_due(&[], now));
        memory.asked = Some(now);
        assert!(!memory.is_due(&[], now + Duration::from_secs(29)));
        assert!(memory.is_due(&[], now + Duration::from_secs(30)));
        assert!(memory.is_due(&[pod(0)], now));
        let mut starting = pod(0);
        starting.running = false;
        assert!(!memory.is_due(&[starting], now), "a pod that does not run cannot answer");
    }
}
