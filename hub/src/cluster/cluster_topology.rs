//! What is known of a Redis Cluster's servers, kept up to date.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{
    redis_address::{Endpoint, Login, RedisAddress},
    registry_error::RegistryError,
    slot_map::SlotMap,
    vote::majority,
};

/// How often the slots are asked for although nothing seems wrong.
const REFRESH: Duration = Duration::from_secs(10);
/// Least time between two questions, however much seems wrong.
const PAUSE: Duration = Duration::from_millis(300);
/// Servers asked at a time.
const ASKED: usize = 8;

/// The slot map, and who keeps it.
pub(super) struct ClusterTopology {
    address: Arc<RedisAddress>,
    map: watch::Sender<Arc<SlotMap>>,
    wanted: Notify,
    error: Mutex<RegistryError>,
}

impl ClusterTopology {
    pub(super) fn new(address: Arc<RedisAddress>) -> Self {
        let error = RegistryError::Unreachable("no connection to redis was made yet".to_owned());
        let map = watch::Sender::new(Arc::new(SlotMap::empty()));
        Self { address, map, wanted: Notify::new(), error: Mutex::new(error) }
    }

    /// Keeps the map until told to stop.
    pub(super) async fn run(&self, shutdown: CancellationToken) {
        loop {
            let asked = tokio::select! {
                () = shutdown.cancelled() => return,
                asked = self.ask() => asked,
            };
            let next = match asked {
                Ok(map) => {
                    self.map.send_if_modified(|known| {
                        let changed = **known != map;
                        if changed {
                            *known = Arc::new(map);
                        }
                        changed
                    });
                    REFRESH
                }
                Err(error) => {
                    *self.error.lock() = error;
                    PAUSE
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(next.saturating_sub(PAUSE)) => {}
                () = self.wanted.notified() => {}
            }
        }
    }

    /// Asks those that are known, and those that the settings name: they may be all that is left, or all that was
    /// replaced.
    async fn ask(&self) -> Result<SlotMap, RegistryError> {
        let known = self.map();
        let mut servers: BTreeSet<Endpoint> = known.primaries().into_iter().cloned().collect();
        servers.extend(self.address.seeds().take(ASKED));
        for server in known.servers() {
            if servers.len() < ASKED {
                servers.insert(server.clone());
            }
        }
        majority(servers.into_iter().map(|server| self.ask_one(server)), SlotMap::same_owners).await
    }

    async fn ask_one(&self, server: Endpoint) -> Result<SlotMap, RegistryError> {
        let mut question = redis::cmd("CLUSTER");
        question.arg("SLOTS");
        let answer: redis::Value = self.address.ask(&server, Login::Data, &question).await?;
        SlotMap::parse(&answer, &server).ok_or_else(|| {
            RegistryError::Other(format!(
                "redis at {server} knows of no slots; check that it is a node of a redis cluster that is ready"
            ))
        })
    }

    /// What is known now.
    pub(super) fn map(&self) -> Arc<SlotMap> {
        Arc::clone(&self.map.borrow())
    }

    /// Hears the map change.
    pub(super) fn watch(&self) -> watch::Receiver<Arc<SlotMap>> {
        self.map.subscribe()
    }

    /// A server said that it has not a slot any more.
    pub(super) fn moved(&self, slot: u16, to: &Endpoint) {
        self.map.send_if_modified(|known| {
            let changed = known.owner(slot) != Some(to);
            if changed {
                *known = Arc::new(known.with_moved(slot, to));
            }
            changed
        });
        self.refresh();
    }

    /// Something seems wrong: the map is asked for soon.
    pub(super) fn refresh(&self) {
        self.wanted.notify_one();
    }

    /// Why nothing is known, when nothing is.
    pub(super) fn error(&self) -> RegistryError {
        self.error.lock().clone()
    }
}
