//! Clients come through a real Ingress controller: Traefik, with and without its cookie, and during a rollout.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use http::StatusCode;
use serde_json::{Value, json};
use wsc_tests::{
    kubernetes::{
        ingress_controller::{INGRESS_CLASS, IngressController},
        resource::{POD, WSC_CLUSTER},
        wsc_cluster::{TestCluster, condition, small_spec},
    },
    reconnecting_client::{Event, ReconnectingClient},
    wait::{Look, eventually},
    ws_client::{PATIENCE, Upgrade, WsClient, WsRequest},
};

use crate::stage::{STARTED, Stage};

/// Traefik collects changes of Ingresses and endpoints for two seconds.
const NOTICED: Duration = Duration::from_secs(30);
/// Longer than Traefik's read timeout of 60 s, and than the 75 s after which a hub ends a connection that has not answered
/// two of its pings.
const IDLE: Duration = Duration::from_secs(80);
const COOKIE: &str = "test-affinity";

fn spec(nodes: u32, host: &str, affinity: &Value) -> Value {
    let mut spec = small_spec(nodes);
    spec["exposure"] = json!({
        "type": "Ingress", "profile": "Traefik", "ingressClassName": INGRESS_CLASS,
        "hosts": [{"host": host}], "affinity": affinity
    });
    spec
}

/// A hub that is reached by its host name.
struct Exposed<'a> {
    chat: TestCluster<'a>,
    way_in: Arc<IngressController>,
    host: String,
}

impl<'a> Exposed<'a> {
    /// Makes a hub of three nodes and waits until it is reached from outside.
    async fn create(stage: &'a Stage, affinity: &Value) -> Result<Self> {
        let way_in = Arc::new(IngressController::find(&stage.ns.access).await?);
        let host = format!("{}.example.com", stage.ns.name);
        let chat = TestCluster::create(&stage.ns, "chat", &spec(3, &host, affinity)).await?;
        chat.ready(3, STARTED).await?;
        let exposed = Self { chat, way_in, host };
        exposed.every_node_is_met().await?;
        Ok(exposed)
    }

    async fn connect(&self, user: &str) -> Result<WsClient> {
        let request = WsRequest::token(&self.chat.token(user).await?);
        self.way_in.connect(&self.host, &request).await
    }

    /// Waits until Traefik leads to all three nodes.
    async fn every_node_is_met(&self) -> Result<()> {
        let request = WsRequest::token(&self.chat.token("early").await?);
        let mut met = BTreeSet::new();
        eventually("the Ingress leads to three nodes", NOTICED, async || {
            match self.way_in.upgrade(&self.host, &request).await? {
                Upgrade::Refused(answer) => Ok(Look::NotYet(format!("{} {}", answer.status, answer.text))),
                open @ Upgrade::Open(_) => {
                    met.insert(WsClient::welcomed(open).await?.node().to_owned());
                    Ok(Look::when(met.len() == 3, (), format!("{met:?}")))
                }
            }
        })
        .await
    }
}

#[tokio::test]
async fn without_affinity_clients_spread_reach_each_other_and_idle_ones_stay() -> Result<()> {
    let stage = Stage::new("ingress").await?;
    let exposed = Exposed::create(&stage, &json!({"type": "None"})).await?;
    let mut idle = exposed.connect("idle").await?;

    let mut clients = Vec::new();
    let mut per_node = BTreeMap::<String, u32>::new();
    for number in 0..9 {
        let client = exposed.connect(&format!("user-{number}")).await?;
        *per_node.entry(client.node().to_owned()).or_default() += 1;
        clients.push(client);
    }
    ensure!(per_node.len() == 3 && per_node.values().all(|count| *count <= 4), "{per_node:?}");
    let mut alice = clients.swap_remove(0);
    let far = clients.iter().position(|client| client.node() != alice.node()).context("all on one node")?;
    let mut bob = clients.swap_remove(far);
    let bobs_name = bob.welcome["user_id"].as_str().context("no user in welcome")?.to_owned();
    assert_eq!(alice.send_to(&bobs_name, "through the Ingress").await?, "delivered");
    assert_eq!(bob.expect_text("through the Ingress").await?["sender"], "user-0");

    // Only what the resource names is led in.
    let token = exposed.chat.token("alice").await?;
    let bearer = format!("Bearer {token}");
    for (host, path) in [
        (exposed.host.as_str(), "/nodes"),
        (exposed.host.as_str(), "/v1/users/alice"),
        ("other.example.com", "/ws"),
    ] {
        match exposed.way_in.upgrade(host, &WsRequest::new(path).header("Authorization", &bearer)).await? {
            Upgrade::Refused(answer) => assert_eq!(answer.status, StatusCode::NOT_FOUND, "{host}{path}"),
            Upgrade::Open(_) => bail!("{host}{path} leads to the hub"),
        }
    }

    // It reads, so that it answers pings as a browser does, and nothing may come.
    if let Ok(came) = idle.next(IDLE).await {
        bail!("the idle client got {came:?}");
    }
    let (api, _forward) = exposed.chat.api(0).await?;
    assert_eq!(api.send("idle", "still there?").await?["status"], "delivered");
    idle.expect_text("still there?").await?;
    Ok(())
}

#[tokio::test]
async fn exposure_ready_and_the_endpoint_say_what_is_so() -> Result<()> {
    let stage = Stage::new("exposure").await?;
    let host = format!("{}.example.com", stage.ns.name);
    let mut wrong = spec(1, &host, &json!({"type": "None"}));
    wrong["exposure"]["ingressClassName"] = json!("not-installed");
    let chat = TestCluster::create(&stage.ns, "chat", &wrong).await?;
    let object = chat.until("ExposureReady", "False", STARTED).await?;
    assert_eq!(condition(&object, "ExposureReady")["reason"], "IngressClassMissing");
    chat.change(&json!({"exposure": {"ingressClassName": INGRESS_CLASS, "affinity": {"type": "ClientIP"}}}))
        .await?;
    let object = stage
        .ns
        .until(WSC_CLUSTER, "chat", "Traefik cannot do it", STARTED, |object| {
            condition(object, "ExposureReady")["reason"] == "Unsupported"
        })
        .await?;
    assert_eq!(condition(&object, "ExposureReady")["status"], "False");
    chat.change(&json!({"exposure": {"affinity": {"type": "None"}}})).await?;
    let object = chat.until("ExposureReady", "True", STARTED).await?;
    let external = object["status"]["endpoints"]["external"].as_str().context("no external endpoint")?;
    assert_eq!(external, format!("ws://{host}/ws"));
    chat.ready(1, STARTED).await?;

    // What the status names is where clients are served.
    let way_in = IngressController::find(&stage.ns.access).await?;
    let (named, path) = external.trim_start_matches("ws://").split_once('/').context("no path")?;
    let target = format!("/{path}");
    let bearer = format!("Bearer {}", chat.token("alice").await?);
    let request = WsRequest::new(&target).header("Authorization", &bearer);
    eventually("the named endpoint serves", NOTICED, async || {
        Ok(match way_in.upgrade(named, &request).await? {
            Upgrade::Open(_) => Look::Holds(()),
            Upgrade::Refused(answer) => Look::NotYet(answer.status.to_string()),
        })
    })
    .await?;

    chat.change(&json!({"exposure": {"type": "None"}})).await?;
    let object = stage
        .ns
        .until(WSC_CLUSTER, "chat", "nothing is exposed", STARTED, |object| {
            condition(object, "ExposureReady")["reason"] == "NotExposed"
        })
        .await?;
    assert!(object["status"]["endpoints"]["external"].is_null(), "{}", object["status"]["endpoints"]);
    eventually("the host leads nowhere", NOTICED, async || {
        Ok(match way_in.upgrade(named, &request).await? {
            Upgrade::Open(_) => Look::NotYet("it leads to the hub".to_owned()),
            Upgrade::Refused(answer) => Look::when(answer.status == StatusCode::NOT_FOUND, (), answer.status),
        })
    })
    .await
}

/// The affinity cookie of an upgrade, as a browser sends it back.
fn cookie(client: &WsClient) -> Option<String> {
    let set = client.headers.get_all("set-cookie").iter().filter_map(|value| value.to_str().ok());
    set.filter_map(|value| value.split(';').next()).find(|pair| pair.starts_with(COOKIE)).map(str::to_owned)
}

#[tokio::test]
async fn with_the_cookie_a_client_keeps_its_node_until_that_is_gone() -> Result<()> {
    let stage = Stage::new("cookie").await?;
    let exposed = Exposed::create(&stage, &json!({"type": "Cookie", "cookieName": COOKIE})).await?;
    let mut alice = exposed.connect("alice").await?;
    let home = alice.node().to_owned();
    let given = cookie(&alice).context("no cookie was set")?;
    let request = WsRequest::token(&exposed.chat.token("alice").await?);
    let sent_back = request.clone().header("Cookie", &given);
    for _ in 0..9 {
        let again = exposed.way_in.connect(&exposed.host, &sent_back).await?;
        assert_eq!(again.node(), home, "the cookie was not heeded");
    }
    exposed.every_node_is_met().await.context("without the cookie")?;

    let uid = stage.ns.get(POD, &home).await?["metadata"]["uid"].as_str().map(str::to_owned);
    stage.ns.delete(POD, &home).await?;
    alice.expect_close(1012, NOTICED).await?;
    // As a client does: with the old cookie, again and again until somebody takes it.
    let moved = eventually("another node takes the client", NOTICED, async || {
        match exposed.way_in.upgrade(&exposed.host, &sent_back).await? {
            Upgrade::Refused(answer) => Ok(Look::NotYet(format!("{} {}", answer.status, answer.text))),
            open @ Upgrade::Open(_) => Ok(Look::Holds(WsClient::welcomed(open).await?)),
        }
    })
    .await?;
    let present = stage.ns.find(POD, moved.node()).await?.context("a node without a pod")?;
    ensure!(
        moved.node() != home || present["metadata"]["uid"].as_str() != uid.as_deref(),
        "the client is on the pod that was deleted"
    );
    let renewed = cookie(&moved).context("no new cookie was set")?;
    ensure!(renewed != given, "the cookie still names the node that is gone");
    Ok(())
}

#[tokio::test]
async fn a_rollout_behind_the_ingress_brings_every_client_back() -> Result<()> {
    let stage = Stage::new("ingress-roll").await?;
    let exposed = Exposed::create(&stage, &json!({"type": "None"})).await?;
    let mut clients = Vec::new();
    for number in 0..12 {
        let request = WsRequest::token(&exposed.chat.token(&format!("user-{number}")).await?);
        let (way_in, host) = (Arc::clone(&exposed.way_in), exposed.host.clone());
        clients.push(ReconnectingClient::start(Box::new(move || {
            let (way_in, host, request) = (Arc::clone(&way_in), host.clone(), request.clone());
            Box::pin(async move { way_in.upgrade(&host, &request).await })
        })));
    }
    for client in &clients {
        client.connected(1, PATIENCE).await?;
    }
    exposed.chat.change(&json!({"image": {"repository": "wsc-hub", "tag": "dev-next"}})).await?;
    let object = exposed.chat.ready(3, Duration::from_secs(240)).await?;
    assert_eq!(object["status"]["updatedReplicas"], 3);
    let mut moves = 0;
    for client in &clients {
        // Every pod was replaced, so everybody has moved at least once.
        client.connected(2, Duration::from_secs(60)).await?;
        moves += client.connects() - 1;
    }
    let (api, _forward) = exposed.chat.api(0).await?;
    let result = api.broadcast("after the rollout").await?;
    assert_eq!(result["connections"], 12, "{result}");
    let mut refused = Vec::new();
    for client in &clients {
        client.received("after the rollout", PATIENCE).await?;
        assert_eq!(client.count("after the rollout"), 1);
        for event in client.events() {
            match event {
                Event::Lost(code) => {
                    ensure!(code == Some(1012), "a client lost its connection with {code:?}");
                }
                Event::Failed(why) => refused.push(why),
                _ => {}
            }
        }
    }
    eprintln!("12 clients moved {moves} times; {} attempts were refused: {refused:?}", refused.len());
    Ok(())
}
