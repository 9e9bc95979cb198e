//! A primary of a Redis Cluster dies with what the nodes live by: a lease, the set of nodes, the owner of the prefix.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use wsc_tests::{
    hub_fleet::HubFleet,
    redis_cluster::RedisCluster,
    redis_server::RedisOptions,
    traffic::Traffic,
    wait::{Look, eventually},
};

use super::crowd::Crowd;

const NODES: usize = 3;
/// Users at each node, enough for each shard to have some.
const USERS: usize = 8;
const OWNER: &str = "the-fleet";
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Longer than a failover.
const LONG_LEASE: Duration = Duration::from_secs(8);
/// Shorter than a slow one, but long enough for every node to be back within a lease, on a busy machine too: who is
/// not may be called dead.
const SHORT_LEASE: Duration = Duration::from_secs(5);
/// Until the servers call one of them lost.
const QUICK: Duration = Duration::from_millis(1500);
/// The same, for a failover that takes longer than the short lease.
const SLOW: Duration = Duration::from_secs(6);
/// How long a replica may take on a busy machine to take over.
const FAILOVER: Duration = Duration::from_secs(30);
/// All is registered again within this after Redis is back.
const REGISTERED: Duration = Duration::from_secs(5);
/// Until everybody may be called offline again, on a busy machine.
const WHOLE: Duration = Duration::from_secs(40);

/// Hubs whose own keys lie on three different shards: the lease of `node-1`, the set of nodes, the owner.
struct Shards {
    fleet: HubFleet<RedisCluster>,
    prefix: String,
}

impl Shards {
    async fn start(lease: Duration, node_timeout: Duration) -> Result<Self> {
        let redis = RedisCluster::start_with(node_timeout, RedisOptions::default).await?;
        let mut number = 0;
        let prefix = loop {
            let prefix = format!("wsc{number}:");
            let mut shards = Vec::new();
            for key in ["lease:{node-1}", "nodes", "owner"] {
                shards.push(redis.owner(&format!("{prefix}{key}"), 0).await?);
            }
            shards.sort_unstable();
            shards.dedup();
            if shards.len() == 3 {
                break prefix;
            }
            number += 1;
        };
        let millis = |duration: Duration| format!("{}ms", duration.as_millis());
        let fleet = HubFleet::over(redis, NODES, |options| {
            options
                .set("WSC_KEY_PREFIX", &prefix)
                .set("WSC_OWNER", OWNER)
                .set("WSC_EVENTS", "true")
                .set("WSC_HEARTBEAT_INTERVAL", &millis(HEARTBEAT.min(lease / 5)))
                .set("WSC_LEASE", &millis(lease))
                .set("WSC_CLIENT_RATE", "100000")
                .set("WSC_CLIENT_IN_FLIGHT", "10000")
        })
        .await?;
        let shards = Self { fleet, prefix };
        shards.whole().await?;
        Ok(shards)
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A command to the primary that has its key, by what server `asked` knows.
    async fn command<T: redis::FromRedisValue>(
        &self,
        asked: usize,
        name: &str,
        key: &str,
        rest: &str,
    ) -> Result<T> {
        let key = self.key(key);
        let owner = self.fleet.redis.owner(&key, asked).await?;
        self.fleet.redis.servers[owner].command(format!("{name} {key} {rest}").trim_end()).await
    }

    /// Waits until nobody is in doubt: one lease after the youngest marker.
    async fn whole(&self) -> Result<()> {
        for number in 0..NODES {
            let what = format!("node {number} knows who is nowhere");
            eventually(&what, WHOLE, async || {
                let answer = self.fleet.api(number)?.get("/v1/users/nobody").await?;
                Ok(Look::when(answer.status == 200, (), answer.text))
            })
            .await?;
        }
        Ok(())
    }

    async fn statuses(&self) -> Result<Vec<Value>> {
        let mut statuses = Vec::new();
        for number in 0..NODES {
            statuses.push(self.fleet.status(number).await?);
        }
        Ok(statuses)
    }

    async fn incarnations(&self) -> Result<Vec<String>> {
        let statuses = self.statuses().await?;
        Ok(statuses.iter().map(|status| status["incarnation"].as_str().unwrap_or("?").to_owned()).collect())
    }

    /// The records under the leases.
    async fn records(&self, asked: usize) -> Result<Vec<Value>> {
        let mut records = Vec::new();
        for number in 0..NODES {
            let record: Option<String> =
                self.command(asked, "GET", &format!("lease:{{node-{number}}}"), "").await?;
            records.push(record.map_or(Ok(Value::Null), |record| serde_json::from_str(&record))?);
        }
        Ok(records)
    }

    async fn metric(&self, series: &str) -> Result<u64> {
        let mut sum = 0;
        for number in 0..NODES {
            sum += self.fleet.api(number)?.metric(series).await?;
        }
        Ok(sum)
    }

    /// Why not everything is registered: leases, the set, the owner, all users under the present incarnations, and each
    /// node's word that it has written all it has under the markers of the primaries that there are now.
    async fn unregistered(&self, asked: usize, before: &Value, crowds: &[Crowd]) -> Result<Option<String>> {
        let (statuses, records) = (self.statuses().await?, self.records(asked).await?);
        let members: Vec<String> = self.command(asked, "SMEMBERS", "nodes", "").await?;
        for (number, (status, record)) in statuses.iter().zip(&records).enumerate() {
            let incarnation = status["incarnation"].as_str().unwrap_or("?");
            if status["registered"] != true || status["redis"] != "up" || record["incarnation"] != incarnation
            {
                return Ok(Some(format!("{status}; {record}")));
            }
            let asserted = &record["asserted"];
            if asserted.is_null() || asserted == before || *asserted != records[0]["asserted"] {
                return Ok(Some(format!("node {number} has asserted {asserted}")));
            }
            let instance = format!("node-{number}#{incarnation}");
            if !members.contains(&instance) {
                return Ok(Some(format!("{instance} is not among {members:?}")));
            }
            for member in &crowds[number].0 {
                let fields: Vec<String> =
                    self.command(asked, "HKEYS", &format!("{{u:{}}}:conn", member.user), "").await?;
                if fields.iter().filter(|field| field.starts_with(&format!("{instance}/"))).count() != 1 {
                    return Ok(Some(format!("{} of {instance} has {fields:?}", member.user)));
                }
            }
        }
        let owner: Option<String> = self.command(asked, "GET", "owner", "").await?;
        Ok((owner.as_deref() != Some(OWNER)).then(|| format!("the owner is {owner:?}")))
    }
}

/// What was said of users who are there all the time.
#[derive(Debug, Default)]
struct Said {
    statuses: BTreeMap<String, usize>,
    lies: Vec<String>,
    /// Place of the node, of its user, and the content of each message that was called delivered.
    delivered: Vec<(usize, usize, String)>,
    /// The same of those that were called failed.
    failed: Vec<(usize, usize, String)>,
}

/// Asks all nodes about all users in turn, and sends to them, until told to stop.
async fn ask(shards: &Shards, crowds: &[Crowd], stop: &CancellationToken) -> Result<Said> {
    let mut said = Said::default();
    for round in 0.. {
        if stop.is_cancelled() {
            break;
        }
        let (place, number) = (round % NODES, round / NODES % USERS);
        let asked = (place + 1 + round / (NODES * USERS) % (NODES - 1)) % NODES;
        let (api, user) = (shards.fleet.api(asked)?, &crowds[place].0[number].user);
        let content = format!("asked {round}");
        let body = json!({"content": content, "options": {"timeout_ms": 700}});
        let (place_of, path) = (format!("/v1/users/{user}"), format!("/v1/users/{user}/messages"));
        let (found, sent) = tokio::join!(api.get(&place_of), api.post(&path, &body));
        let (found, sent) = (found?, sent?.ok()?);
        let online = found.status != 200 || found.json()?["online"] == true;
        if !online || !matches!(found.status.as_u16(), 200 | 503) {
            said.lies.push(format!("node {asked} of {user}: {} {}", found.status, found.text));
        }
        let status = sent["status"].as_str().unwrap_or("?").to_owned();
        match status.as_str() {
            "delivered" => said.delivered.push((place, number, content)),
            "failed" => said.failed.push((place, number, content)),
            "offline" => said.lies.push(format!("node {asked} to {user}: {sent}")),
            _ => {}
        }
        *said.statuses.entry(status).or_default() += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(said)
}

/// Kills the primary that has a key, under traffic. Gives the incarnations before and after it.
#[expect(clippy::print_stdout, reason = "figures of a test")]
async fn lose(shards: &Shards, name: &str) -> Result<(Vec<String>, Vec<String>)> {
    let mut crowds = Vec::new();
    for (number, hub) in shards.fleet.hubs.iter().enumerate() {
        crowds.push(Crowd::connect(hub, &format!("at-{number}"), USERS).await?);
    }
    let before = shards.incarnations().await?;
    let asserted = shards.records(0).await?[0]["asserted"].clone();
    ensure!(asserted.is_string(), "nothing is asserted");
    let key = shards.key(name);
    let owner = shards.fleet.redis.owner(&key, 0).await?;
    let asked = (owner + 1) % 3;
    let traffic = Traffic::start(&shards.fleet.hubs, 300).await?;
    let stop = CancellationToken::new();
    let course = async {
        let _ends_the_questions = stop.clone().drop_guard();
        let killed = Instant::now();
        shards.fleet.redis.servers[owner].signal(Signal::KILL)?;
        eventually("its replica takes over", FAILOVER, async || {
            let now = shards.fleet.redis.owner(&key, asked).await?;
            Ok(Look::when(now == owner + 3, (), now))
        })
        .await?;
        let (away, back) = (killed.elapsed(), Instant::now());
        eventually("all is registered again", WHOLE, async || {
            // The servers may still be making up their minds.
            let missing = shards.unregistered(asked, &asserted, &crowds).await;
            let missing = missing.unwrap_or_else(|error| Some(format!("{error:#}")));
            Ok(Look::when(missing.is_none(), (), missing.unwrap_or_default()))
        })
        .await?;
        let registered = back.elapsed();
        // Only from now on anybody may be swept or called offline.
        shards.whole().await?;
        // Reapers look once in a heartbeat.
        tokio::time::sleep(HEARTBEAT * 3).await;
        anyhow::Ok((away, registered))
    };
    let (course, said) = tokio::join!(course, ask(shards, &crowds, &stop));
    let ((away, registered), said) = (course?, said?);
    let ledger = traffic.finish().await?;
    println!(
        "{key} was away for {away:.1?}, all registered again {registered:.1?} later; asked {:?}; {}",
        said.statuses,
        ledger.summary()
    );
    ledger.is_true()?;
    assert!(!ledger.answers.contains_key("offline"), "{}", ledger.summary());
    assert_eq!(said.lies, Vec::<String>::new());
    assert!(said.statuses.get("delivered").is_some_and(|count| *count > 50), "{:?}", said.statuses);
    for (place, number, content) in &said.delivered {
        let member = &crowds[*place].0[*number];
        eventually(&format!("{} gets {content:?}", member.user), Duration::from_secs(5), async || {
            let came = crowds[*place].counts(content)[*number];
            ensure!(came < 2, "{content:?} came {came} times to {}", member.user);
            Ok(Look::when(came == 1, (), came))
        })
        .await?;
    }
    for (place, number, content) in &said.failed {
        assert_eq!(crowds[*place].counts(content)[*number], 0, "{content:?} was called failed and came");
    }
    for crowd in &crowds {
        assert_eq!(crowd.ended(), Vec::<String>::new(), "connections stay");
    }
    assert!(registered < REGISTERED, "{registered:?}");
    let result = shards.fleet.api(0)?.broadcast("all").await?;
    assert_eq!(
        (&result["status"], &result["nodes_expected"]),
        (&json!("complete"), &json!(NODES)),
        "{result}"
    );
    let told: Vec<Value> = offline_events(shards, asked).await?;
    assert_eq!(told, Vec::<Value>::new(), "somebody was called offline");
    Ok((before, shards.incarnations().await?))
}

async fn offline_events(shards: &Shards, asked: usize) -> Result<Vec<Value>> {
    let entries: Vec<(String, Vec<String>)> = shards.command(asked, "XRANGE", "{events}", "- +").await?;
    let mut offline = Vec::new();
    for text in entries.iter().filter_map(|(_, fields)| fields.get(1)) {
        let event: Value = serde_json::from_str(text).with_context(|| text.clone())?;
        // The traffic's own clients leave when it is over.
        let stays = event["user_id"].as_str().is_some_and(|user| user.starts_with("at-"));
        if event["type"] == "offline" && stays {
            offline.push(event);
        }
    }
    ensure!(entries.len() > NODES * USERS, "{} events: nothing was told", entries.len());
    Ok(offline)
}

/// A lease outlives the loss of a shard, so each node keeps its life, and nobody is swept.
async fn every_life_outlives(name: &str) -> Result<()> {
    let shards = Shards::start(LONG_LEASE, QUICK).await?;
    let (before, after) = lose(&shards, name).await?;
    assert_eq!(before, after, "a life ended");
    for series in ["wsc_reaped_nodes_total", "wsc_reaped_users_total"] {
        assert_eq!(shards.metric(series).await?, 0, "{series}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shard_of_a_lease_dies_and_its_node_lives_on_with_all_its_users() -> Result<()> {
    every_life_outlives("lease:{node-1}").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shard_of_the_set_of_nodes_dies_and_no_node_is_reaped() -> Result<()> {
    every_life_outlives("nodes").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shard_of_the_prefixs_owner_dies_and_every_node_keeps_its_lease() -> Result<()> {
    every_life_outlives("owner").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_lapses_with_its_shard_is_followed_by_the_next_life_and_nobody_is_called_offline()
-> Result<()> {
    let shards = Shards::start(SHORT_LEASE, SLOW).await?;
    let lost = shards.fleet.redis.owner(&shards.key("lease:{node-1}"), 0).await?;
    let mut shared = Vec::new();
    for number in 0..NODES {
        let lease = shards.key(&format!("lease:{{node-{number}}}"));
        shared.push(shards.fleet.redis.owner(&lease, 0).await? == lost);
    }
    let (before, after) = lose(&shards, "lease:{node-1}").await?;
    for (number, (before, after)) in before.iter().zip(&after).enumerate() {
        let (start, n) = before.split_once('.').context("no incarnation")?;
        let (start_after, n_after) = after.split_once('.').context("no incarnation")?;
        assert_eq!(start, start_after, "node {number} is another process");
        let (n, n_after): (u64, u64) = (n.parse()?, n_after.parse()?);
        let lapsed = n_after > n;
        // What Redis refuses while it has no primary for some slots may cost others their lives, too.
        assert!(lapsed || !shared[number], "node {number}, {before} before and {after} after");
        if lapsed {
            let old = shards.key(&format!("idx:{{node-{number}}}:{before}:*"));
            eventually("the life that ended is swept", WHOLE, async || {
                let left = shards.fleet.redis.keys(&old).await?;
                Ok(Look::when(left.is_empty(), (), format!("{left:?}")))
            })
            .await?;
        }
    }
    assert!(shards.metric("wsc_reaped_nodes_total").await? > 0, "the life that ended is swept by somebody");
    Ok(())
}
