//! Many clients that come back by themselves while what carries them is replaced.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use futures::future::BoxFuture;

use crate::{
    farewells::Farewells,
    reconnecting_client::{Event, ReconnectingClient},
    wait::{Look, eventually},
    ws_client::Upgrade,
};

/// Until all clients are there, or back, on a busy machine.
const BACK: Duration = Duration::from_secs(60);
/// Clients that connect for the first time at the same time.
const AT_ONCE: usize = 100;
/// What a node says when it goes away.
const RESTART: u16 = 1012;

/// Opens a connection for the user of a number, at an offset if it has one.
pub type Open = Arc<dyn Fn(usize, Option<String>) -> BoxFuture<'static, Result<Upgrade>> + Send + Sync>;

/// Name of the user of a number.
#[must_use]
pub fn user(number: usize) -> String {
    format!("roller-{number}")
}

/// Clients that come back by themselves, say which offset they have, and acknowledge what they get.
#[derive(Debug)]
pub struct ReturningClients(Vec<ReconnectingClient>);

impl ReturningClients {
    /// Connects `count` users.
    ///
    /// # Errors
    /// When not all are there within a minute.
    pub async fn start(count: usize, open: &Open) -> Result<Self> {
        let mut clients = Self(Vec::new());
        for number in 0..count {
            let open = Arc::clone(open);
            clients.0.push(ReconnectingClient::resuming(Box::new(move |offset| open(number, offset))));
            // Not a test of how many come at once.
            if (number + 1) % AT_ONCE == 0 {
                clients.all_connected().await?;
            }
        }
        clients.all_connected().await?;
        Ok(clients)
    }

    /// Waits until all are connected.
    ///
    /// # Errors
    /// After a minute, with how many are not.
    pub async fn all_connected(&self) -> Result<()> {
        eventually("all clients are connected", BACK, async || {
            let missing = self.0.iter().filter(|client| client.node().is_none()).count();
            Ok(Look::when(missing == 0, (), format!("{missing} are not")))
        })
        .await
        .with_context(|| format!("{:?}, ends until now {:?}", self.nodes(), self.ends()))
    }

    /// How many are connected to each node.
    #[must_use]
    pub fn nodes(&self) -> BTreeMap<String, usize> {
        let mut nodes = BTreeMap::new();
        for node in self.0.iter().filter_map(ReconnectingClient::node) {
            *nodes.entry(node).or_default() += 1;
        }
        nodes
    }

    /// How many clients have connected more often than once.
    #[must_use]
    pub fn moved(&self) -> usize {
        self.0.iter().filter(|client| client.connects() > 1).count()
    }

    /// How often they connected beyond the first time, in all.
    #[must_use]
    pub fn reconnects(&self) -> usize {
        self.0.iter().map(|client| client.connects().saturating_sub(1)).sum()
    }

    /// How often each client connected anew since then, in their order.
    #[must_use]
    pub fn moves_since(&self, then: Instant) -> Vec<usize> {
        let is_move = |(at, event): &&(Instant, Event)| *at >= then && matches!(event, Event::Connected(_));
        self.0.iter().map(|client| client.look(|history| history.iter().filter(is_move).count())).collect()
    }

    /// Which nodes sent clients away since then, each with when the clients heard of it.
    #[must_use]
    pub fn farewells_since(&self, then: Instant) -> BTreeMap<String, Farewells> {
        let mut times = BTreeMap::<String, Vec<Instant>>::new();
        for client in &self.0 {
            client.look(|history| {
                let mut at_node = None;
                for (at, event) in history {
                    match event {
                        Event::Connected(node) => at_node = Some(node),
                        Event::Lost(code) => {
                            let left = at_node.take().filter(|_| *code == Some(RESTART) && *at >= then);
                            if let Some(node) = left {
                                times.entry(node.clone()).or_default().push(*at);
                            }
                        }
                        Event::Frame(_) | Event::Failed(_) | Event::Stopped(_) => {}
                    }
                }
            });
        }
        times.into_iter().map(|(node, times)| (node, Farewells::at(times))).collect()
    }

    /// How connections and attempts ended, with how often.
    #[must_use]
    pub fn ends(&self) -> BTreeMap<String, usize> {
        let mut ends = BTreeMap::<String, usize>::new();
        for client in &self.0 {
            client.look(|history| {
                for (_, event) in history {
                    let end = match event {
                        Event::Lost(code) => format!("{code:?}"),
                        Event::Failed(why) => why.split(':').next().unwrap_or_default().to_owned(),
                        _ => continue,
                    };
                    *ends.entry(end).or_default() += 1;
                }
            });
        }
        ends
    }

    /// Checks that connections ended by nothing but a node that went away in order; attempts may have failed.
    ///
    /// # Errors
    /// When one ended otherwise, with how all ended.
    pub fn left_in_order(&self) -> Result<()> {
        let ends = self.ends();
        let other = ends.keys().any(|end| end == "None" || (end.starts_with("Some") && end != "Some(1012)"));
        ensure!(!other, "connections were cut: {ends:?}");
        Ok(())
    }

    /// How often each text came to its user, by what the client let through.
    pub(crate) fn received(&self) -> BTreeMap<String, usize> {
        let mut contents = BTreeMap::new();
        for (number, client) in self.0.iter().enumerate() {
            for content in client.contents() {
                *contents.entry(format!("{} {content}", user(number))).or_default() += 1;
            }
        }
        contents
    }

    /// Stored messages that came again after they had come, and were dropped by their offset.
    pub(crate) fn repeated(&self) -> usize {
        self.0.iter().map(|client| client.place().doubled).sum()
    }

    /// Gaps in inboxes that clients were told of.
    pub(crate) fn gaps(&self) -> usize {
        self.0.iter().map(|client| client.place().gaps.len()).sum()
    }
}
