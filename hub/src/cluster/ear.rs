//! One subscription, built again whenever it ends, falls silent, or its channel is elsewhere.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use redis::{
    PushInfo, PushKind, Value,
    aio::{MultiplexedConnection, SendError},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    bus_reader::BusReader,
    cluster_topology::ClusterTopology,
    redis_address::{Endpoint, RedisAddress, Subscribing, sign_of_life},
    registry_error::RegistryError,
    shard_link::Target,
    slot_map::slot_of,
    standing::Subscription,
};

/// A subscription that lived this long was good.
const GOOD_AFTER: Duration = Duration::from_secs(5);
/// Between two signs of life, so that a server that is no primary any more is left before anybody relies on it.
const KEEPALIVE: Duration = Duration::from_secs(1);
/// How often it is looked up where the channels are.
const CONFIRM: Duration = Duration::from_secs(5);

/// Where the channels are.
pub(super) enum Place {
    /// On the one primary.
    Single(Target),
    /// On the primary of a Redis Cluster that has the slot of the one channel.
    Sharded(Arc<ClusterTopology>),
}

/// A connection that hears channels.
pub(super) struct Ear {
    pub(super) address: Arc<RedisAddress>,
    pub(super) place: Place,
    /// All on one server.
    pub(super) channels: Vec<String>,
    /// Which of the reader's ears it is.
    pub(super) number: usize,
}

/// A subscription as it is now.
struct Heard {
    at: Endpoint,
    connection: MultiplexedConnection,
    /// Says why it is over.
    over: watch::Receiver<Option<&'static str>>,
}

impl Ear {
    /// Keeps the subscription until told to stop. What comes is taken by the reader.
    pub(super) async fn run(&self, reader: &Arc<BusReader>, shutdown: CancellationToken) {
        let mut retry = self.address.retry();
        while !shutdown.is_cancelled() {
            retry.begin();
            let subscribed = tokio::select! {
                () = shutdown.cancelled() => return,
                subscribed = self.subscribe(reader) => subscribed,
            };
            let why = match subscribed {
                Ok(heard) => {
                    let since = Instant::now();
                    reader.subscribed(self.number, since);
                    let why = tokio::select! {
                        () = shutdown.cancelled() => return,
                        why = self.listen(heard, reader) => why,
                    };
                    if since.elapsed() >= GOOD_AFTER {
                        retry.reset();
                    }
                    retry.begin();
                    why
                }
                Err(error) => error,
            };
            if let Place::Sharded(topology) = &self.place {
                topology.refresh();
            }
            reader.set_subscription(self.number, Subscription::Down(why));
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = retry.pause() => {}
            }
        }
    }

    async fn subscribe(&self, reader: &Arc<BusReader>) -> Result<Heard, RegistryError> {
        let (at, subscribing) = match &self.place {
            Place::Single(target) => (target.find(&self.address).await?, Subscribing::Plain),
            Place::Sharded(topology) => {
                let owner = self.owner(topology).ok_or_else(|| topology.error())?;
                (owner, Subscribing::Sharded)
            }
        };
        let (tell, over) = watch::channel(None);
        let reader = Arc::clone(reader);
        let sender = move |push: PushInfo| {
            match push.kind {
                PushKind::Message | PushKind::SMessage => {
                    if let Some((channel, payload)) = message(push.data) {
                        reader.hear(&channel, payload);
                    }
                }
                PushKind::Disconnection => {
                    tell.send_replace(Some("redis closed the subscription to the node's channels"));
                }
                PushKind::SUnsubscribe | PushKind::Unsubscribe => {
                    tell.send_replace(Some("redis ended the subscription, the channel's slot has moved"));
                }
                _ => {}
            }
            Ok::<(), SendError>(())
        };
        let connection = self.address.hear(&at, subscribing, &self.channels, sender).await?;
        Ok(Heard { at, connection, over })
    }

    /// The server that has the slot of the channel.
    fn owner(&self, topology: &ClusterTopology) -> Option<Endpoint> {
        let channel = self.channels.first()?;
        topology.map().owner(slot_of(channel.as_bytes())).cloned()
    }

    /// Whether the channels are known to be on another server now.
    async fn has_left(&self, at: &Endpoint) -> bool {
        match &self.place {
            Place::Single(target) => target.has_left(at, &self.address).await,
            Place::Sharded(topology) => self.owner(topology).is_some_and(|owner| owner != *at),
        }
    }

    /// Waits until the subscription is of no use any more, and says why.
    async fn listen(&self, mut heard: Heard, reader: &BusReader) -> RegistryError {
        let mut map = match &self.place {
            Place::Single(_) => None,
            Place::Sharded(topology) => Some(topology.watch()),
        };
        let moved = || RegistryError::Unreachable("the node's channels are on another redis now".to_owned());
        let mut confirmed = Instant::now();
        loop {
            let silent_at = reader.silent_at(self.number);
            tokio::select! {
                changed = heard.over.changed() => {
                    let why = match changed {
                        Ok(()) => *heard.over.borrow_and_update(),
                        Err(_) => None,
                    };
                    return RegistryError::Unreachable(why.unwrap_or("the subscription ended").to_owned());
                }
                () = changes(&mut map) => {
                    if self.has_left(&heard.at).await {
                        return moved();
                    }
                }
                () = tokio::time::sleep(KEEPALIVE) => {
                    if let Err(error) = sign_of_life(&mut heard.connection).await {
                        return self.address.classify(&error, &heard.at);
                    }
                    if confirmed.elapsed() >= CONFIRM {
                        if self.has_left(&heard.at).await {
                            return moved();
                        }
                        confirmed = Instant::now();
                    }
                }
                () = tokio::time::sleep_until(silent_at.into()) => {
                    // A sign that came since then moved the time on.
                    if reader.silent_at(self.number) <= Instant::now() {
                        tracing::warn!(channels = ?self.channels, "no probe came for too long, subscribing again");
                        let why = "the subscription to the node's channels fell silent";
                        return RegistryError::Unreachable(why.to_owned());
                    }
                }
            }
        }
    }
}

async fn changes<T>(map: &mut Option<watch::Receiver<T>>) {
    let changed = match map {
        Some(map) => map.changed().await.is_ok(),
        None => false,
    };
    if !changed {
        std::future::pending::<()>().await;
    }
}

/// Channel and payload of a message.
fn message(data: Vec<Value>) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut parts = data.into_iter();
    match (parts.next(), parts.next()) {
        (Some(Value::BulkString(channel)), Some(Value::BulkString(payload))) => Some((channel, payload)),
        _ => None,
    }
}
