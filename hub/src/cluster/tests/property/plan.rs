//! What happens when.

use proptest::{
    prelude::{Just, Strategy, any, prop_oneof},
    strategy::{BoxedStrategy, NewTree},
    test_runner::{Config, RngSeed, TestRunner},
};

/// Nodes of the cluster.
pub(super) const NODES: usize = 3;
/// Users; few, so that their connections meet.
pub(super) const USERS: usize = 4;
/// Groups.
pub(super) const GROUPS: usize = 2;

/// One thing that is begun; how long it takes is up to the nodes.
#[derive(Debug, Clone)]
pub(super) enum Op {
    /// A user connects and perhaps joins a group.
    Connect { node: usize, user: usize, group: Option<usize> },
    /// One of the clients that are connected leaves.
    Disconnect { which: usize },
    /// A backend closes a user's connections.
    Kick { node: usize, user: usize },
    /// The same, and keeps the user out.
    Ban { node: usize, user: usize },
    /// A backend lifts a user's ban.
    Lift { node: usize, user: usize },
    /// A user who is nowhere yet connects to the other nodes while one keeps the user out.
    Rush { node: usize, after_ms: u64 },
    /// A user who is on two nodes leaves one for the third, while the other hears of both.
    Hop { node: usize },
    /// Users who are nowhere else connect and some of them leave; then the process ends without a farewell, is started
    /// again, and some users come back to it at once.
    Kill { node: usize, after_ms: u64, back_ms: u64 },
    /// The same, and whoever begins to sweep the dead ends that much later.
    KillTwo { node: usize, later_ms: u64, back_ms: u64 },
    /// The process stands still.
    Pause { node: usize, ms: u64 },
    /// The connections to Redis end; the node makes new ones and asserts all its users.
    Cut { node: usize },
    /// Redis loses everything.
    Flush,
    /// Redis loses what one shard of several might hold: users and the marker, but no lease.
    LoseUsers,
}

/// One step of a plan.
#[derive(Debug, Clone)]
pub(super) struct Step {
    /// Pause before it, in ms. What was begun before goes on meanwhile.
    pub(super) after_ms: u64,
    pub(super) op: Op,
}

/// A whole run.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Of the times that bytes take.
    pub(super) seed: u64,
    /// Most connections of a user; 0 for any number.
    pub(super) most: u32,
    /// Whether more are refused; else the oldest are closed.
    pub(super) reject: bool,
    /// Whether some of what nodes tell each other unasked is lost.
    pub(super) lossy: bool,
    pub(super) steps: Vec<Step>,
}

impl Plan {
    /// Whether nothing but clients and backends acts, so that nothing has to be healed.
    pub(super) fn is_calm(&self) -> bool {
        use Op::{Cut, Flush, Kill, KillTwo, LoseUsers, Pause};
        let calm = |op: &Op| {
            !matches!(op, Kill { .. } | KillTwo { .. } | Pause { .. } | Cut { .. } | Flush | LoseUsers)
        };
        !self.lossy && self.steps.iter().all(|step| calm(&step.op))
    }
}

fn connect() -> impl Strategy<Value = Op> {
    (0..NODES, 0..USERS, proptest::option::of(0..GROUPS)).prop_map(|(node, user, group)| Op::Connect {
        node,
        user,
        group,
    })
}

fn of_clients() -> BoxedStrategy<Op> {
    let at = || (0..NODES, 0..USERS);
    prop_oneof![
        12 => connect(),
        3 => any::<u16>().prop_map(|which| Op::Disconnect { which: usize::from(which) }),
        1 => at().prop_map(|(node, user)| Op::Kick { node, user }),
        1 => at().prop_map(|(node, user)| Op::Ban { node, user }),
        1 => at().prop_map(|(node, user)| Op::Lift { node, user }),
        3 => (0..NODES, 0..20_u64).prop_map(|(node, after_ms)| Op::Rush { node, after_ms }),
        3 => (0..NODES).prop_map(|node| Op::Hop { node }),
    ]
    .boxed()
}

fn of_the_world() -> BoxedStrategy<Op> {
    let back = || 0..400_u64;
    prop_oneof![
        3 => (0..NODES, 0..30_u64, back())
            .prop_map(|(node, after_ms, back_ms)| Op::Kill { node, after_ms, back_ms }),
        3 => (0..NODES, 0..50_u64, back())
            .prop_map(|(node, later_ms, back_ms)| Op::KillTwo { node, later_ms, back_ms }),
        3 => (0..NODES, prop_oneof![50..300_u64, 1000..1800_u64])
            .prop_map(|(node, ms)| Op::Pause { node, ms }),
        2 => (0..NODES).prop_map(|node| Op::Cut { node }),
        1 => Just(Op::Flush),
        4 => Just(Op::LoseUsers),
    ]
    .boxed()
}

/// Many begin at once, which is when they meet.
fn steps(op: BoxedStrategy<Op>, count: std::ops::Range<usize>, after_ms: u64) -> BoxedStrategy<Vec<Step>> {
    let after = prop_oneof![2 => Just(0), 1 => 0..after_ms];
    proptest::collection::vec((after, op).prop_map(|(after_ms, op)| Step { after_ms, op }), count).boxed()
}

/// Plans of the calm kind end in a burst, after which nothing puts right what it left.
fn strategy(weather: Weather) -> BoxedStrategy<Plan> {
    let nothing = || Just(Vec::new()).boxed();
    // Nothing after it makes the nodes write again but that they notice it.
    let loss = Just(Op::LoseUsers).boxed();
    let all = match weather {
        Weather::Calm => (steps(of_clients(), 25..40, 60), nothing(), steps(of_clients(), 6..12, 10)),
        Weather::Deaths => (steps(connect().boxed(), 8..14, 20), steps(of_deaths(), 6..9, 250), nothing()),
        Weather::Storm => {
            (steps(of_clients(), 10..18, 40), steps(mixed(), 20..30, 150), steps(loss, 0..2, 10))
        }
    };
    let policy = prop_oneof![2 => Just((0, false)), 3 => Just((2, false)), 1 => Just((2, true))];
    let lossy = if weather == Weather::Storm { any::<bool>().boxed() } else { Just(false).boxed() };
    (any::<u64>(), policy, lossy, all)
        .prop_map(|(seed, (most, reject), lossy, (first, then, last))| {
            let steps = [first, then, last].concat();
            Plan { seed, most, reject, lossy, steps }
        })
        .boxed()
}

fn of_deaths() -> BoxedStrategy<Op> {
    prop_oneof![
        3 => connect(),
        3 => (0..NODES, 0..30_u64, Just(0))
            .prop_map(|(node, after_ms, back_ms)| Op::Kill { node, after_ms, back_ms }),
        2 => (0..NODES, 20..60_u64, Just(0))
            .prop_map(|(node, later_ms, back_ms)| Op::KillTwo { node, later_ms, back_ms }),
        3 => (0..NODES, 700..1300_u64).prop_map(|(node, ms)| Op::Pause { node, ms }),
    ]
    .boxed()
}

fn mixed() -> BoxedStrategy<Op> {
    prop_oneof![4 => of_clients(), 1 => of_the_world()].boxed()
}

/// What fails besides clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weather {
    /// Nothing.
    Calm,
    /// Nodes die and stand still, and hardly anything else happens.
    Deaths,
    /// Everything.
    Storm,
}

/// The weather in the plan of a seed.
pub(super) fn weather(seed: u64) -> Weather {
    match seed % 3 {
        0 => Weather::Calm,
        1 => Weather::Deaths,
        _ => Weather::Storm,
    }
}

/// The plan of a seed, with what is needed to make it smaller.
pub(super) fn plan_of(seed: u64) -> NewTree<BoxedStrategy<Plan>> {
    let config = Config { rng_seed: RngSeed::Fixed(seed), failure_persistence: None, ..Config::default() };
    strategy(weather(seed)).new_tree(&mut TestRunner::new(config))
}
