//! Carries a plan out on nodes over a real Redis.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use tokio::{task::JoinSet, time::Instant};

use super::{
    super::test_node::{SOON, eventually, settings},
    client::{Client, Stage},
    life::{Life, Nature},
    plan::{NODES, Op, Plan},
};
use crate::{
    cluster::{RedisSettings, key_space::KeySpace},
    fault::Fault,
    identity::{GroupName, NodeInstance, UserId},
    protocol::message::KickRequest,
    routing::ports::LoginPolicy,
};

/// Longer than any run.
const BAN: Duration = Duration::from_mins(10);
/// Longest time until somebody begins to sweep the dead: the lease, and some rounds.
const SWEEP_BEGINS: Duration = Duration::from_secs(4);
/// Users who are lost with a node, each time.
const LOST_AT_ONCE: u64 = 2;
/// Deletes the keys that a pattern names.
const DELETE: &str = "local keys = redis.call('KEYS', ARGV[1]) \
    for _, key in ipairs(keys) do redis.call('DEL', key) end return #keys";

/// A client that a kick, which said that it reached everybody, left open.
pub(super) struct Spared {
    pub(super) client: Arc<Client>,
    pub(super) instance: NodeInstance,
}

/// Nodes, clients, and what is known of them besides what they say.
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) keys: KeySpace,
    pub(super) prefix: String,
    pub(super) redis: MultiplexedConnection,
    server: RedisSettings,
    fault: Option<Fault>,
    /// By the number of the node; a dead one stays until it is started again.
    slots: Mutex<Vec<Arc<Life>>>,
    pub(super) clients: Mutex<Vec<Arc<Client>>>,
    /// How often Redis lost something.
    losses: AtomicU64,
    /// Users of bans that did not reach everybody; a backend repeats those.
    pub(super) unheard_bans: Mutex<BTreeSet<UserId>>,
    pub(super) spared: Mutex<Vec<Spared>>,
    /// Users who were on one node only when it died.
    pub(super) lost: Mutex<Vec<UserId>>,
    pub(super) kicked: Mutex<BTreeSet<UserId>>,
    /// What was seen and must not be.
    pub(super) violations: Mutex<Vec<String>>,
    /// One death at a time, so that somebody is left.
    deaths: tokio::sync::Mutex<()>,
    healed: AtomicBool,
    /// Of lives and lost users, so that no two are alike.
    count: AtomicU64,
}

impl World {
    pub(super) async fn new(
        plan: Plan,
        server: RedisSettings,
        redis: MultiplexedConnection,
        fault: Option<Fault>,
    ) -> Arc<Self> {
        let prefix = format!("p{}:", ulid::Ulid::generate());
        let world = Arc::new(Self {
            plan,
            keys: KeySpace::new(&prefix),
            prefix,
            redis,
            server,
            fault,
            slots: Mutex::default(),
            clients: Mutex::default(),
            losses: AtomicU64::new(0),
            unheard_bans: Mutex::default(),
            spared: Mutex::default(),
            lost: Mutex::default(),
            kicked: Mutex::default(),
            violations: Mutex::default(),
            deaths: tokio::sync::Mutex::default(),
            healed: AtomicBool::new(false),
            count: AtomicU64::new(0),
        });
        for node in 0..NODES {
            let life = world.new_life(node).await;
            world.slots.lock().push(life);
        }
        world
    }

    async fn new_life(&self, node: usize) -> Arc<Life> {
        let mut settings = settings(&format!("chat-{node}"), Some(self.server.clone()));
        settings.key_prefix.clone_from(&self.prefix);
        settings.events = true;
        settings.login = LoginPolicy { most: self.plan.most, reject: self.plan.reject };
        let seed = self.plan.seed.wrapping_add(self.count.fetch_add(1, Ordering::Relaxed));
        Life::start(settings, Nature { seed, lossy: self.plan.lossy, fault: self.fault }).await
    }

    /// The nodes as they are now.
    pub(super) fn lives(&self) -> Vec<Arc<Life>> {
        self.slots.lock().clone()
    }

    pub(super) fn losses(&self) -> u64 {
        self.losses.load(Ordering::Relaxed)
    }

    pub(super) fn violated(&self, what: String) {
        self.violations.lock().push(what);
    }

    /// Begins every step at its time and waits until all have ended.
    pub(super) async fn carry_out(self: &Arc<Self>) {
        let mut under_way = JoinSet::new();
        for step in &self.plan.steps {
            tokio::time::sleep(Duration::from_millis(step.after_ms)).await;
            under_way.spawn(Arc::clone(self).act(step.op.clone()));
        }
        while let Some(done) = under_way.join_next().await {
            done.unwrap();
        }
    }

    async fn act(self: Arc<Self>, op: Op) {
        match op {
            Op::Connect { node, user, group } => {
                let group = group.map(|n| GroupName::new(format!("g{n}")).unwrap());
                drop(self.connect(node, &user_of(user), group));
            }
            Op::Disconnect { which } => self.disconnect(which),
            Op::Kick { node, user } => {
                self.kick(node, &user_of(user), None).await;
            }
            Op::Ban { node, user } => {
                if !self.kick(node, &user_of(user), Some(BAN)).await {
                    self.unheard_bans.lock().insert(user_of(user));
                }
            }
            Op::Lift { node, user } => self.lift(node, &user_of(user)).await,
            Op::Rush { node, after_ms } => self.rush(node, after_ms).await,
            Op::Hop { node } => self.hop(node).await,
            Op::Kill { node, after_ms, back_ms } => self.kill(node, after_ms, back_ms).await,
            Op::KillTwo { node, later_ms, back_ms } => self.kill_two(node, later_ms, back_ms).await,
            Op::Pause { node, ms } => self.slots.lock()[node].pause(Duration::from_millis(ms)),
            Op::Cut { node } => self.slots.lock()[node].cut(),
            Op::Flush => self.lose("*").await,
            Op::LoseUsers => {
                self.lose("{u:*}:conn").await;
                self.lose("registry").await;
            }
        }
    }

    fn connect(&self, node: usize, user: &UserId, group: Option<GroupName>) -> Option<Arc<Client>> {
        let life = Arc::clone(&self.slots.lock()[node]);
        // Before its first registration a node is not ready: nobody is sent to it.
        if life.is_dead() || !life.router.registration().ever_registered {
            return None;
        }
        let client = Client::new(&life, user, group);
        self.clients.lock().push(Arc::clone(&client));
        drop(life.spawn(Arc::clone(&client).live()));
        Some(client)
    }

    fn disconnect(&self, which: usize) {
        let clients = self.clients.lock();
        let open: Vec<_> = clients.iter().filter(|client| client.is_live()).collect();
        if !open.is_empty() {
            open[which % open.len()].leave();
        }
    }

    /// Whether it says that every node was reached.
    pub(super) async fn kick(&self, node: usize, user: &UserId, ban: Option<Duration>) -> bool {
        let life = Arc::clone(&self.slots.lock()[node]);
        if life.is_dead() {
            return false;
        }
        self.kicked.lock().insert(user.clone());
        let before = self.open_and_written(user);
        let request = KickRequest { reason: "test".to_owned(), ban, ..KickRequest::default() };
        let (router, user) = (Arc::clone(&life.router), user.clone());
        let result = life.spawn(async move { router.kick(&user, &request).await }).await;
        let Ok(Ok(result)) = result else { return false };
        let complete = result.nodes_answered == result.nodes_expected;
        // Whom Redis lost a kick does not find before they are written again.
        if complete && self.losses() == 0 && !life.was_disturbed() {
            let open = before.into_iter().filter(|spared| spared.client.is_live());
            self.spared.lock().extend(open);
        }
        complete
    }

    fn open_and_written(&self, user: &UserId) -> Vec<Spared> {
        let clients = self.clients.lock();
        let open = clients.iter().filter(|client| client.user == *user && client.is_live());
        let written = open.filter_map(|client| {
            let instance = client.written()?;
            (client.life.instance() == instance).then(|| Spared { client: Arc::clone(client), instance })
        });
        written.collect()
    }

    async fn rush(&self, node: usize, after_ms: u64) {
        let user = self.new_user("rush");
        let connects = async {
            tokio::time::sleep(Duration::from_millis(after_ms)).await;
            for other in (0..NODES).filter(|other| *other != node) {
                drop(self.connect(other, &user, None));
                tokio::time::sleep(Duration::from_millis(4)).await;
            }
        };
        let (heard, ()) = tokio::join!(self.kick(node, &user, Some(BAN)), connects);
        if !heard {
            self.unheard_bans.lock().insert(user);
        }
    }

    async fn hop(&self, node: usize) {
        let user = self.new_user("hop");
        let (from, to) = ((node + 1) % NODES, (node + 2) % NODES);
        let stays = self.connect(node, &user, None);
        let Some(leaves) = self.connect(from, &user, None) else { return };
        let deadline = Instant::now() + SWEEP_BEGINS;
        while [stays.as_ref(), Some(&leaves)].into_iter().flatten().any(|c| c.stage() == Stage::Connecting)
            && Instant::now() < deadline
        {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        leaves.leave();
        drop(self.connect(to, &user, None));
    }

    fn new_user(&self, name: &str) -> UserId {
        UserId::new(format!("{name}{}", self.count.fetch_add(1, Ordering::Relaxed))).unwrap()
    }

    async fn lift(&self, node: usize, user: &UserId) {
        let life = Arc::clone(&self.slots.lock()[node]);
        let (router, user) = (Arc::clone(&life.router), user.clone());
        // A killed node lifts nothing.
        let _ = life.spawn(async move { router.lift_ban(&user).await }).await;
    }

    /// Users of their own connect to a node, some leave, and that much later it is killed. Those that will come back;
    /// none when it was dead.
    async fn take_down(&self, life: &Arc<Life>, node: usize, after_ms: u64) -> Option<Vec<UserId>> {
        if life.is_dead() {
            return None;
        }
        let connect =
            |name| (0..LOST_AT_ONCE).filter_map(move |_| self.connect(node, &self.new_user(name), None));
        let leaving: Vec<_> = connect("leaving").collect();
        let returning: Vec<_> = connect("returning").collect();
        let clients: Vec<_> = connect("lost").collect();
        let deadline = Instant::now() + SWEEP_BEGINS;
        while clients.iter().any(|client| client.stage() == Stage::Connecting) && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        leaving.iter().for_each(|client| client.leave());
        tokio::time::sleep(Duration::from_millis(after_ms)).await;
        life.kill();
        let written = clients.iter().filter(|client| client.written().is_some());
        self.lost.lock().extend(written.map(|client| client.user.clone()));
        Some(returning.iter().map(|client| client.user.clone()).collect())
    }

    async fn kill(&self, node: usize, after_ms: u64, back_ms: u64) {
        let _turn = self.deaths.lock().await;
        let life = Arc::clone(&self.slots.lock()[node]);
        if let Some(returning) = self.take_down(&life, node, after_ms).await {
            self.forget_claims(&life.instance()).await;
            self.back(node, back_ms, &returning).await;
        }
    }

    /// Starts a node again, to which users come back as soon as it takes them.
    async fn back(&self, node: usize, back_ms: u64, returning: &[UserId]) {
        tokio::time::sleep(Duration::from_millis(back_ms)).await;
        let life = self.new_life(node).await;
        self.slots.lock()[node] = Arc::clone(&life);
        let mut registration = life.router.registry_state();
        let registered = registration.wait_for(|now| now.registered);
        if tokio::time::timeout(SOON, registered).await.is_ok() {
            for user in returning {
                drop(self.connect(node, user, None));
            }
        }
    }

    async fn kill_two(&self, node: usize, later_ms: u64, back_ms: u64) {
        let _turn = self.deaths.lock().await;
        let life = Arc::clone(&self.slots.lock()[node]);
        let Some(returning) = self.take_down(&life, node, 0).await else { return };
        let dead = life.instance();
        self.forget_claims(&dead).await;
        if let Some((reaper, second)) = self.wait_for_reaper(&dead).await {
            tokio::time::sleep(Duration::from_millis(later_ms)).await;
            reaper.kill();
            self.forget_claims(&reaper.instance()).await;
            self.back(second, back_ms, &[]).await;
        }
        self.back(node, 0, &returning).await;
    }

    async fn wait_for_reaper(&self, dead: &NodeInstance) -> Option<(Arc<Life>, usize)> {
        let deadline = Instant::now() + SWEEP_BEGINS;
        while Instant::now() < deadline {
            let claim: Option<String> = self.ask(redis::cmd("GET").arg(self.keys.reap_claim(dead))).await;
            if let Some(holder) = claim {
                let lives = self.lives().into_iter().zip(0..);
                return lives
                    .filter(|(life, _)| !life.is_dead())
                    .find(|(life, _)| life.instance().to_string() == holder);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        None
    }

    /// Claims of a dead reaper lapse by themselves, after a time that no run has.
    async fn forget_claims(&self, dead: &NodeInstance) {
        // What it sent last has arrived, or never will.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let claims: Vec<String> =
            self.ask(redis::cmd("KEYS").arg(format!("{}idx:*:reaper", self.prefix))).await;
        for claim in claims {
            let holder: Option<String> = self.ask(redis::cmd("GET").arg(&claim)).await;
            if holder == Some(dead.to_string()) {
                self.ask::<()>(redis::cmd("DEL").arg(&claim)).await;
            }
        }
    }

    async fn lose(&self, which: &str) {
        self.losses.fetch_add(1, Ordering::Relaxed);
        let pattern = format!("{}{which}", self.prefix);
        self.ask::<u64>(redis::cmd("EVAL").arg(DELETE).arg(0).arg(pattern)).await;
    }

    /// One command on the test's own connection.
    pub(super) async fn ask<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> T {
        command.query_async(&mut self.redis.clone()).await.unwrap()
    }

    /// Everything ended: the nodes stop, and nothing of them stays in Redis.
    pub(super) async fn end(&self) {
        for life in self.lives() {
            life.kill();
        }
        self.lose("*").await;
    }

    /// Waits until every node can say that somebody is nowhere.
    pub(super) async fn wait_whole(&self) {
        for life in self.lives() {
            eventually("the registry is whole", async || {
                let router = Arc::clone(&life.router);
                let asked = life.spawn(async move { router.locate(&user_of(0)).await });
                asked.await.unwrap().is_ok()
            })
            .await;
        }
    }

    /// A backend repeats the bans that did not reach every node.
    pub(super) async fn repeat_bans(&self) {
        let deadline = Instant::now() + SOON;
        let unheard: Vec<_> = std::mem::take(&mut *self.unheard_bans.lock()).into_iter().collect();
        for user in unheard {
            // One that was never written, or was lifted meanwhile, is of no account.
            while self.ask::<bool>(redis::cmd("EXISTS").arg(self.keys.ban(&user))).await
                && !self.kick(0, &user, Some(BAN)).await
            {
                assert!(Instant::now() < deadline, "the ban of {user} does not reach every node");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// Makes every node assert all its users, which puts right what they failed to tell each other.
    pub(super) async fn heal(&self) {
        for life in self.lives() {
            let epoch = life.router.registration().epoch;
            life.cut();
            let mut registration = life.router.registry_state();
            let again = registration.wait_for(|now| now.registered && now.epoch > epoch);
            tokio::time::timeout(SOON, again).await.expect("a node that was cut off comes back").unwrap();
        }
        self.healed.store(true, Ordering::Release);
    }

    pub(super) fn was_healed(&self) -> bool {
        self.healed.load(Ordering::Acquire)
    }
}

pub(super) fn user_of(n: usize) -> UserId {
    UserId::new(format!("u{n}")).unwrap()
}
