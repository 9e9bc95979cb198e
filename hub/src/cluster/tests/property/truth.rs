//! What must hold in the end: the registry says what is.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{client::Client, life::Life, plan::GROUPS, world::World};
use crate::{
    identity::{GroupName, NodeInstance, UserId},
    protocol::close_reason::CloseReason,
};

type Names = BTreeSet<String>;

/// What is, by those who made it so, and not by what the nodes believe.
struct Truth {
    lives: Vec<Arc<Life>>,
    live: Vec<Arc<Client>>,
    users: BTreeSet<UserId>,
}

impl Truth {
    fn of(world: &World) -> Self {
        let clients = world.clients.lock();
        let live = clients.iter().filter(|client| client.is_live()).cloned().collect();
        let users = clients.iter().map(|client| client.user.clone()).collect();
        Self { lives: world.lives(), live, users }
    }

    fn of_user<'a>(&'a self, user: &'a UserId) -> impl Iterator<Item = &'a Arc<Client>> {
        self.live.iter().filter(move |client| client.user == *user)
    }

    fn fields(&self, user: &UserId) -> Names {
        self.of_user(user).map(|c| format!("{}/{}", c.life.instance(), c.connection.id)).collect()
    }

    fn nodes(&self, user: &UserId) -> BTreeSet<NodeInstance> {
        self.of_user(user).map(|client| client.life.instance()).collect()
    }

    fn in_group(&self, group: &GroupName) -> BTreeMap<String, usize> {
        let mut nodes = BTreeMap::new();
        for client in self.live.iter().filter(|client| client.group.as_ref() == Some(group)) {
            *nodes.entry(client.life.instance().to_string()).or_default() += 1;
        }
        nodes
    }
}

/// Where the registry, or what nodes know of it, is not what is; empty when all is true.
pub(super) async fn differences(world: &World) -> Vec<String> {
    let unfinished = world.clients.lock().iter().filter(|client| client.is_unfinished()).count();
    let unregistered = world.lives().iter().filter(|life| !life.is_registered()).count();
    let unsettled: usize = world.lives().iter().map(|life| life.router.registry().unsettled()).sum();
    let untold: usize = world.lives().iter().map(|life| life.events.waiting()).sum();
    if unfinished + unregistered + unsettled + untold > 0 {
        return vec![format!(
            "unfinished: {unfinished} clients, {unsettled} entries, {untold} events, {unregistered} nodes are not registered"
        )];
    }
    let truth = Truth::of(world);
    let mut found = Vec::new();
    let mut keys = Names::new();
    for user in &truth.users {
        of_user(world, &truth, user, &mut keys, &mut found).await;
    }
    for group in (0..GROUPS).map(|n| GroupName::new(format!("g{n}")).unwrap()) {
        let key = world.keys.group_nodes(&group);
        let mut written: Vec<String> = world.ask(redis::cmd("HKEYS").arg(&key)).await;
        written.retain(|field| field != "ver");
        let members = truth.in_group(&group);
        differ(&mut found, "group", group.as_str(), &members.keys().cloned().collect(), &names(written));
        if !members.is_empty() {
            keys.insert(key);
        }
    }
    of_nodes(world, &truth, &mut keys, &mut found).await;
    let all: Vec<String> = world.ask(redis::cmd("KEYS").arg(format!("{}*", world.prefix))).await;
    // A claim of a reaper that died lapses by itself; bans and events are of no connection.
    let ours = all
        .into_iter()
        .filter(|key| !key.ends_with(":reaper") && !key.ends_with(":ban") && *key != world.keys.events());
    differ(&mut found, "keys", "all", &keys, &names(ours));
    found
}

async fn of_user(world: &World, truth: &Truth, user: &UserId, keys: &mut Names, found: &mut Vec<String>) {
    let expected = truth.fields(user);
    let key = world.keys.connections(user);
    let mut written: Vec<String> = world.ask(redis::cmd("HKEYS").arg(&key)).await;
    written.retain(|field| field.contains('/'));
    differ(found, "hash", user.as_str(), &expected, &names(written));
    if !expected.is_empty() {
        keys.insert(key);
        if world.ask::<bool>(redis::cmd("EXISTS").arg(world.keys.ban(user))).await {
            found.push(format!("ban: {user} is banned and connected: {expected:?}"));
        }
    }
    let most = usize::try_from(world.plan.most).unwrap();
    if most > 0 && healed(world) && expected.len() > most {
        found.push(format!("limit: {user} has more than {most} connections: {expected:?}"));
    }
    let nodes = truth.nodes(user);
    for life in &truth.lives {
        let (router, user) = (Arc::clone(&life.router), user.clone());
        let asked = user.clone();
        let location = life.spawn(async move { router.locate(&asked).await }).await;
        match location {
            Ok(Ok(location)) => {
                let ids: Names = location.connections.iter().map(|c| c.connection_id.to_string()).collect();
                let true_ids = truth.of_user(&user).map(|client| client.connection.id.to_string());
                differ(found, "locate", user.as_str(), &true_ids.collect(), &ids);
            }
            other => {
                found.push(format!("locate: {} does not say where {user} is: {other:?}", life.instance()));
            }
        }
        let own = life.instance();
        if !healed(world) || !nodes.contains(&own) {
            continue;
        }
        let Some(known) = life.router.known_nodes(&user) else { continue };
        let mut others: BTreeSet<_> = nodes.clone();
        others.remove(&own);
        let lives: BTreeSet<_> = truth.lives.iter().map(|life| life.instance()).collect();
        // That a node died is seen by its lease, whatever is known of the user.
        let known: BTreeSet<_> = known.into_iter().filter(|instance| lives.contains(instance)).collect();
        if known != others {
            found
                .push(format!("whereabouts: {own} takes {user} to be on {known:?}, and it is on {others:?}"));
        }
    }
}

/// Whether all that nodes failed to tell each other has been put right: by asserting all, or because nothing failed.
fn healed(world: &World) -> bool {
    world.plan.is_calm() || world.was_healed()
}

async fn of_nodes(world: &World, truth: &Truth, keys: &mut Names, found: &mut Vec<String>) {
    let instances: Names = truth.lives.iter().map(|life| life.instance().to_string()).collect();
    let listed: Vec<String> = world.ask(redis::cmd("SMEMBERS").arg(world.keys.nodes())).await;
    differ(found, "nodes", "all", &instances, &names(listed));
    keys.extend([world.keys.nodes(), world.keys.marker(None)]);
    for life in &truth.lives {
        let instance = life.instance();
        keys.insert(world.keys.lease(&instance.node));
        let here = || truth.live.iter().filter(|client| Arc::ptr_eq(&client.life, life));
        let users: Names = here().map(|client| client.user.to_string()).collect();
        let groups: Names = here().filter_map(|c| c.group.as_ref().map(ToString::to_string)).collect();
        let indexes =
            [(world.keys.user_index(&instance), users), (world.keys.group_index(&instance), groups)];
        for (key, expected) in indexes {
            let indexed: Vec<String> = world.ask(redis::cmd("SMEMBERS").arg(&key)).await;
            differ(found, "index", &key, &expected, &names(indexed));
            if !expected.is_empty() {
                keys.insert(key);
            }
        }
    }
}

fn names(names: impl IntoIterator<Item = String>) -> Names {
    names.into_iter().collect()
}

fn differ(found: &mut Vec<String>, what: &str, whose: &str, expected: &Names, actual: &Names) {
    if expected != actual {
        let missing: Vec<_> = expected.difference(actual).collect();
        let wrong: Vec<_> = actual.difference(expected).collect();
        found.push(format!("{what}: of {whose} missing {missing:?}, not there in truth {wrong:?}"));
    }
}

/// What was noted on the way and is judged when all is quiet.
pub(super) async fn judge_events_and_closes(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    for spared in world.spared.lock().iter() {
        let client = &spared.client;
        if !client.life.is_dead() && client.life.instance() == spared.instance {
            let id = client.connection.id;
            found.push(format!("kick: one that reached all nodes left {id} of {} open", client.user));
        }
    }
    let kicked = world.kicked.lock().clone();
    for client in world.clients.lock().iter() {
        let explained = match client.closing() {
            None => true,
            Some(CloseReason::Kicked(_)) => kicked.contains(&client.user),
            Some(CloseReason::Replaced) => world.plan.most > 0,
            Some(_) => false,
        };
        if !explained {
            let (id, why) = (client.connection.id, client.closing());
            found.push(format!("close: {id} of {} was closed without a cause: {why:?}", client.user));
        }
    }
    found.extend(judge_events(world, &offline_events(world).await));
    found
}

/// The versions of each user's offline events, each once however often it was told.
async fn offline_events(world: &World) -> BTreeMap<String, BTreeSet<u64>> {
    type Entries = Vec<(String, Vec<(String, String)>)>;
    let entries: Entries = world.ask(redis::cmd("XRANGE").arg(world.keys.events()).arg("-").arg("+")).await;
    let mut offline: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for (_, fields) in entries {
        let event: serde_json::Value = serde_json::from_str(&fields[0].1).unwrap();
        let id = event["event_id"].as_str().unwrap();
        if let Some((user, ver)) = id.strip_prefix("offline:").and_then(|rest| rest.rsplit_once(':')) {
            offline.entry(user.to_owned()).or_default().insert(ver.parse().unwrap());
        }
    }
    offline
}

fn judge_events(world: &World, offline: &BTreeMap<String, BTreeSet<u64>>) -> Vec<String> {
    let mut found = Vec::new();
    for (user, versions) in offline.iter().filter(|(_, versions)| versions.contains(&0)) {
        found.push(format!("events: {user} went offline at no version: {versions:?}"));
    }
    // What Redis lost it cannot tell.
    if world.losses() == 0 {
        for user in world.lost.lock().iter() {
            let told = offline.get(user.as_str()).map_or(0, BTreeSet::len);
            if told != 1 {
                found.push(format!("events: {user}, lost with a node, went offline {told} times"));
            }
        }
    }
    for client in world.clients.lock().iter().filter(|client| client.is_live()) {
        let kept = !client.life.was_disturbed() && client.written() == Some(client.life.instance());
        let versions = offline.get(client.user.as_str());
        let wrong = versions.and_then(|versions| versions.iter().find(|ver| **ver > client.opened()));
        if let (true, Some(ver)) = (kept, wrong) {
            found.push(format!("events: {} was called offline at {ver}, and was connected", client.user));
        }
    }
    found
}
