//! When the resource is called Ready, and what it says when it is not.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use crate::api::conditions::{self, ConditionStatus, reasons};
use crate::api::status::{Phase, WscClusterStatus};
use crate::api::{WscCluster, WscClusterSpec};
use crate::observed::fleet::Fleet;
use crate::observed::hub::HubView;
use crate::observed::pod::HubPod;
use crate::observed::redis::{RedisFault, RedisHealth};
use crate::observed::world::World;
use crate::plan::operation::{Kind, Operation, Plan, Stuck};
use crate::plan::wish::Wish;

use super::secrets::SpecFault;
use super::status::build;
use super::verdicts::{Findings, Standstill, Verdict};

/// A cluster of three where everything is as it should be, to be spoiled by a test.
struct Scene {
    cluster: WscCluster,
    world: World,
    plan: Plan,
    wish: Wish,
    standstill: Option<Standstill>,
    faults: Vec<SpecFault>,
    refusals: Vec<String>,
    pending: Vec<String>,
    exposure: Verdict,
    newer_image: Option<&'static str>,
    previous: WscClusterStatus,
}

impl Scene {
    fn good() -> Self {
        let spec: WscClusterSpec = serde_json::from_value(json!({"redis": {"managed": {}}})).unwrap();
        let mut cluster = WscCluster::new("chat", spec);
        cluster.metadata.namespace = Some("demo".into());
        cluster.metadata.generation = Some(7);
        let hot_hash = crate::desired::hot_hash(&cluster).unwrap();
        let mut hubs = BTreeMap::new();
        let pods = (0..3)
            .map(|ordinal| {
                let uid = format!("uid-{ordinal}");
                let report = serde_json::from_value(json!({
                    "phase": "active", "registered": true, "redis": "up",
                    "connections": 10, "max_connections": 1000, "hot_hash": hot_hash,
                }));
                let view = HubView { answer: Ok(report.unwrap()), registered: true, absent_since: None };
                hubs.insert(uid.clone(), view);
                HubPod {
                    name: format!("chat-{ordinal}"),
                    uid,
                    ordinal,
                    ip: Some("10.0.0.1".into()),
                    revision: "new".into(),
                    terminating: false,
                    deletion: None,
                    ready: true,
                    ready_changed: Timestamp::UNIX_EPOCH,
                    running: true,
                    fault: None,
                    redis_wiring: BTreeMap::new(),
                }
            })
            .collect();
        let fleet = Fleet {
            replicas: 3,
            current: true,
            update_revision: Some("new".into()),
            image: "hub:1".into(),
            ..Fleet::default()
        };
        Self {
            cluster,
            world: World::new(Some(fleet), pods, hubs, None),
            plan: Plan::rest(),
            wish: Wish::default(),
            standstill: None,
            faults: Vec::new(),
            refusals: Vec::new(),
            pending: Vec::new(),
            exposure: Verdict::new(true, reasons::NOT_EXPOSED, "none"),
            newer_image: None,
            previous: WscClusterStatus::default(),
        }
    }

    fn operation(&mut self, kind: Kind) {
        self.plan.operation = Some(Operation {
            id: "x".into(),
            kind,
            done: 0,
            total: 3,
            message: "replacing chat-2".into(),
            watched: Vec::new(),
        });
    }

    /// What the hub of chat-2 says about its hot settings.
    fn hot(&mut self, hash: &str, error: Option<&str>) {
        if let Ok(report) = &mut self.world.hubs.get_mut("uid-2").unwrap().answer {
            report.hot_hash = Some(hash.to_owned());
            report.hot_error = error.map(str::to_owned);
        }
    }

    fn status(&self) -> WscClusterStatus {
        let findings = Findings {
            cluster: &self.cluster,
            world: &self.world,
            plan: &self.plan,
            wish: &self.wish,
            standstill: self.standstill,
            faults: &self.faults,
            refusals: &self.refusals,
            pending: &self.pending,
            exposure: self.exposure.clone(),
            autoscaling: Verdict::new(false, reasons::DISABLED, "off"),
            newer_image: self.newer_image,
        };
        build(&self.previous, &findings, Timestamp::from_second(1000).unwrap())
    }

    /// Status, reason and message of a condition.
    fn condition(&self, type_: &str) -> (String, String, String) {
        let status = self.status();
        let found = conditions::find(&status.conditions, type_).unwrap();
        (found.status.clone(), found.reason.clone(), found.message.clone())
    }
}

type Spoil = fn(&mut Scene);

#[test]
fn a_good_cluster_is_ready_and_says_what_it_has() {
    let scene = Scene::good();
    let status = scene.status();
    assert_eq!(status.phase, Some(Phase::Ready));
    assert_eq!((status.replicas, status.ready_replicas, status.updated_replicas), (3, 3, 3));
    assert_eq!((status.registered_nodes, status.desired_replicas), (3, 3));
    assert_eq!((status.connections.total, status.connections.capacity), (30, 3000));
    assert_eq!(status.observed_generation, 7);
    assert_eq!(status.endpoints.internal, "ws://chat.demo.svc:80/ws");
    for type_ in conditions::ALWAYS_PRESENT {
        assert!(conditions::find(&status.conditions, type_).is_some(), "{type_}");
    }
    for type_ in [conditions::RECONCILING, conditions::STALLED] {
        assert!(conditions::find(&status.conditions, type_).is_none(), "{type_}");
    }
    assert!(scene.condition(conditions::REDIS_READY).2.contains("memory only"));
}

#[test]
fn anything_amiss_takes_ready_away_with_its_reason() {
    let rows: &[(&str, Spoil, &str, Phase)] = &[
        ("pod missing", |s| drop(s.world.pods.pop()), reasons::PODS_MISSING, Phase::Progressing),
        ("pod not ready", |s| s.world.pods[1].ready = false, reasons::PODS_NOT_READY, Phase::Progressing),
        ("pod ending", |s| s.world.pods[1].terminating = true, reasons::PODS_NOT_READY, Phase::Progressing),
        (
            "pod of an older template",
            |s| s.world.pods[0].revision = "old".into(),
            reasons::ROLLING_OUT,
            Phase::Progressing,
        ),
        (
            "controller lags",
            |s| s.world.fleet.as_mut().unwrap().current = false,
            reasons::ROLLING_OUT,
            Phase::Progressing,
        ),
        (
            "not registered",
            |s| s.world.hubs.get_mut("uid-2").unwrap().registered = false,
            reasons::NOT_REGISTERED,
            Phase::Progressing,
        ),
        (
            "hub silent",
            |s| {
                let view = s.world.hubs.get_mut("uid-2").unwrap();
                view.registered = false;
                view.answer = Err("no answer".into());
            },
            reasons::NOT_REGISTERED,
            Phase::Progressing,
        ),
        ("operation", |s| s.operation(Kind::Rollout), reasons::ROLLING_OUT, Phase::Progressing),
        ("scaling", |s| s.operation(Kind::ScaleUp), reasons::SCALING, Phase::Progressing),
        (
            "stuck",
            |s| {
                s.operation(Kind::Rollout);
                s.plan.stuck =
                    Some(Stuck { pod: "chat-2".into(), cause: "keeps crashing".into(), put_back: false });
            },
            reasons::ROLLOUT_STUCK,
            Phase::Degraded,
        ),
        (
            "Redis down",
            |s| s.world.redis = down(RedisFault::Unreachable),
            reasons::UNREACHABLE,
            Phase::Degraded,
        ),
        ("Redis unknown", |s| s.world.redis = RedisHealth::Unknown, reasons::UNKNOWN, Phase::Progressing),
        (
            "spec",
            |s| s.faults.push(SpecFault { reason: reasons::SECRET_MISSING, message: "m".into() }),
            reasons::SECRET_MISSING,
            Phase::Invalid,
        ),
        (
            "refused",
            |s| s.refusals.push("the API server refused".into()),
            reasons::APPLY_FAILED,
            Phase::Degraded,
        ),
        (
            "exposure",
            |s| s.exposure = Verdict::new(false, reasons::UNSUPPORTED, "m"),
            reasons::UNSUPPORTED,
            Phase::Progressing,
        ),
        (
            "a changed setting on its way",
            |s| s.cluster.spec.hub.max_connections = 7,
            reasons::APPLYING_SETTINGS,
            Phase::Progressing,
        ),
        (
            "a node with older settings",
            |s| s.hot("other", None),
            reasons::APPLYING_SETTINGS,
            Phase::Progressing,
        ),
        (
            "a node that refuses them",
            |s| s.hot("other", Some("limits.queue_memory: too small")),
            reasons::SETTINGS_REFUSED,
            Phase::Degraded,
        ),
        (
            "child ending",
            |s| s.pending.push("waiting for Service".into()),
            reasons::STARTING,
            Phase::Progressing,
        ),
        (
            "stopped",
            |s| {
                s.cluster.spec.stopped = true;
                s.wish.replicas = 0;
                s.world.pods.clear();
            },
            reasons::STOPPED,
            Phase::Stopped,
        ),
        (
            "no replicas",
            |s| {
                s.wish.replicas = 0;
                s.world.pods.clear();
            },
            reasons::NO_REPLICAS,
            Phase::Stopped,
        ),
    ];
    for (name, spoil, reason, phase) in rows {
        let mut scene = Scene::good();
        spoil(&mut scene);
        let (status, found, message) = scene.condition(conditions::READY);
        assert_eq!((status.as_str(), found.as_str()), ("False", *reason), "{name}: {message}");
        assert_eq!(scene.status().phase, Some(*phase), "{name}");
        assert!(!message.is_empty(), "{name}");
    }
}

fn down(fault: RedisFault) -> RedisHealth {
    RedisHealth::Down {
        fault,
        error: "auth_failed: WRONGPASS".into(),
        nodes: vec!["chat-0".into(), "chat-2".into()],
        answered: 3,
    }
}

#[test]
fn paused_and_disabled_leave_ready_open() {
    for standstill in [Standstill::Paused, Standstill::Disabled] {
        let mut scene = Scene::good();
        scene.standstill = Some(standstill);
        assert_eq!(scene.condition(conditions::READY).0, ConditionStatus::Unknown.as_str());
        assert_eq!(scene.condition(conditions::AVAILABLE).0, "True");
        assert_eq!(scene.status().phase, Some(Phase::Paused));
    }
}

#[test]
fn a_redis_outage_leaves_the_cluster_available_and_says_what_to_do() {
    let mut scene = Scene::good();
    scene.world.redis = down(RedisFault::AuthenticationFailed);
    assert_eq!(scene.condition(conditions::AVAILABLE).0, "True");
    assert_eq!(scene.condition(conditions::DEGRADED).0, "True");
    let (status, reason, message) = scene.condition(conditions::REDIS_READY);
    assert_eq!((status.as_str(), reason.as_str()), ("False", reasons::AUTHENTICATION_FAILED));
    for part in ["2 of 3 nodes", "chat-0, chat-2", "WRONGPASS", "delete the pod of Redis"] {
        assert!(message.contains(part), "{part} is missing in: {message}");
    }
    scene.cluster.spec.redis = serde_json::from_value(
        json!({"external": {"addresses": ["r:6379"], "authSecretRef": {"name": "login"}}}),
    )
    .unwrap();
    assert!(scene.condition(conditions::REDIS_READY).2.contains("Secret login"));
}

#[test]
fn a_held_image_is_no_work_in_progress_but_is_told() {
    let mut scene = Scene::good();
    scene.newer_image = Some("hub:2");
    let (status, reason, message) = scene.condition(conditions::PROGRESSING);
    assert_eq!((status.as_str(), reason.as_str()), ("False", reasons::NEWER_TEMPLATE_AVAILABLE));
    assert!(message.contains("hub:2") && message.contains("wsc.dev/restart"));
    assert_eq!(scene.condition(conditions::READY).0, "True");
}

#[test]
fn stalled_and_reconciling_are_never_both_true() {
    let spoils: &[Spoil] = &[
        |s| s.faults.push(SpecFault { reason: reasons::SECRET_MISSING, message: "m".into() }),
        |s| {
            s.operation(Kind::Rollout);
            s.plan.stuck = Some(Stuck { pod: "chat-2".into(), cause: "c".into(), put_back: true });
        },
        |s| s.operation(Kind::Rollout),
        |s| s.pending.push("waiting".into()),
    ];
    for spoil in spoils {
        let mut scene = Scene::good();
        spoil(&mut scene);
        let status = scene.status();
        let has = |type_| conditions::find(&status.conditions, type_).is_some();
        assert!(has(conditions::RECONCILING) != has(conditions::STALLED), "{:?}", status.conditions);
    }
}

#[test]
fn a_new_cluster_is_pending_until_a_node_served() {
    let mut scene = Scene::good();
    for pod in &mut scene.world.pods {
        pod.ready = false;
    }
    assert_eq!(scene.status().phase, Some(Phase::Pending));
    scene.previous.phase = Some(Phase::Ready);
    assert_eq!(scene.status().phase, Some(Phase::Progressing));
}

#[test]
fn the_same_findings_written_again_change_nothing() {
    let mut scene = Scene::good();
    scene.operation(Kind::Rollout);
    let first = scene.status();
    scene.previous = first.clone();
    assert_eq!(super::status::difference(&first, &scene.status()).unwrap(), None);
}

#[test]
fn a_new_cluster_waits_for_its_own_redis_without_being_called_degraded() {
    let mut scene = Scene::good();
    scene.world.redis = down(RedisFault::Unreachable);
    let created = |second| Some(Time(Timestamp::from_second(second).unwrap()));
    scene.cluster.metadata.creation_timestamp = created(950);
    assert_eq!(scene.condition(conditions::DEGRADED).0, "False");
    assert_eq!(scene.condition(conditions::REDIS_READY).0, "False");
    scene.cluster.metadata.creation_timestamp = created(930);
    assert_eq!(scene.condition(conditions::DEGRADED).0, "True", "a minute is enough");
    scene.cluster.metadata.creation_timestamp = created(950);
    scene.previous.phase = Some(Phase::Ready);
    assert_eq!(scene.condition(conditions::DEGRADED).0, "True", "it was there before");
}

#[test]
fn nodes_that_lack_changed_settings_are_named_and_a_refusal_stalls() {
    let mut scene = Scene::good();
    scene.cluster.spec.drain.rate_per_second = 7;
    let (status, reason, message) = scene.condition(conditions::PROGRESSING);
    assert_eq!((status.as_str(), reason.as_str()), ("True", reasons::APPLYING_SETTINGS));
    assert!(message.contains("3 of 3 nodes (chat-0, chat-1, chat-2)"), "{message}");
    let mut scene = Scene::good();
    scene.hot("other", Some("limits.queue_memory: too small"));
    let (_, reason, message) = scene.condition(conditions::STALLED);
    assert_eq!(reason, reasons::SETTINGS_REFUSED);
    assert!(message.contains("chat-2 says: limits.queue_memory: too small"), "{message}");
    assert!(conditions::find(&scene.status().conditions, conditions::RECONCILING).is_none());
}
