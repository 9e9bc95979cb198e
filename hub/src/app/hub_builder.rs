//! Builds a hub, in the order of what needs what.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpSocket},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{AppError, Hub, hot_reload};
use crate::{
    auth::{ApiKeys, Authenticator},
    cluster::{self, BusCounters, ClusterParts, ClusterSettings},
    http::{
        events::READERS,
        routes,
        server::{BACKLOG, Server},
        service::Service,
    },
    local::connection_table::ConnectionTable,
    observe::{ClusterCounts, Metrics},
    routing::{
        event_writer::EventWriter,
        inbox::InboxLimits,
        inbox_desk::{InboxCounts, InboxDesk},
        ports::{Inbound, LoginPolicy},
        router::Router,
    },
    session::{drain, edge::Edge, queue_keeper},
    settings::{AuthMode, DEV_API_KEY, Hot, HotFile, InboxSettings, RedisMode, Settings},
};

/// Time for the next request on a socket of the API listener: backends keep theirs open.
const API_IDLE: Duration = Duration::from_secs(75);

/// Builds a hub.
pub struct HubBuilder {
    settings: Settings,
    listen: bool,
}

impl HubBuilder {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, listen: true }
    }

    /// Opens no listener: the caller serves [`Hub::router`] from a server of its own. The ports of the settings'
    /// addresses are then what other nodes are told.
    #[must_use]
    pub fn without_listeners(mut self) -> Self {
        self.listen = false;
        self
    }

    /// Builds and starts everything. Returns once both listeners are bound; the node takes clients as soon as it is
    /// registered, at once when it is alone. Must be called on a Tokio runtime.
    ///
    /// # Errors
    /// [`AppError`]; nothing is left running.
    pub async fn start(self) -> Result<Hub, AppError> {
        let settings = Arc::new(self.settings);
        let authenticator = match (settings.auth.mode, &settings.auth.keys_dir) {
            (AuthMode::Trusted | AuthMode::Proxy, _) => Ok(None),
            (AuthMode::Token, None) => return Err(AppError::NoKeys),
            (AuthMode::Token, Some(dir)) => {
                let auth = &settings.auth;
                Authenticator::load(dir, auth.issuer.as_deref(), auth.audience.as_deref()).map(Some)
            }
        };
        let api_keys = match (settings.dev, &settings.api_keys_dir) {
            (true, None) => Ok(ApiKeys::single(DEV_API_KEY)),
            (_, dir) => ApiKeys::load(dir.as_deref()),
        };
        let (authenticator, api_keys) = match (authenticator, api_keys) {
            (Ok(authenticator), Ok(api_keys)) => (authenticator.map(Arc::new), Arc::new(api_keys)),
            // All that is wrong is said at once.
            (Err(one), Err(other)) => return Err(one.and(other).into()),
            (Err(error), _) | (_, Err(error)) => return Err(error.into()),
        };
        if settings.auth.mode == AuthMode::Trusted && !settings.dev {
            tracing::warn!("mode trusted: clients are taken for whoever they say they are");
        }
        if api_keys.is_empty() {
            tracing::warn!("no API key is loaded: the API answers 401 to everyone");
        }
        let hot = Arc::new(Hot::new(settings.hot.clone()));
        if let Some(path) = &settings.hot_settings_file {
            hot.apply(HotFile::read(path, &settings.hot)?);
        }
        let listeners = match self.listen {
            true => Some((listen("clients", settings.client_addr)?, listen("the api", settings.api_addr)?)),
            false => None,
        };
        let addresses = listeners.as_ref().map(|((_, client), (_, api))| (*client, *api));
        let (client_addr, api_addr) = addresses.unwrap_or((settings.client_addr, settings.api_addr));

        let ClusterParts { bus, directory, inbox, events, counters, tasks: cluster_tasks } =
            cluster::build(cluster_settings(&settings, client_addr.port(), api_addr.port()))?;
        let local = Arc::new(ConnectionTable::default());
        let events = settings.events.then(|| Arc::new(EventWriter::new(events)));
        let metrics = Arc::new(Metrics::new());
        let timing = Arc::clone(&metrics);
        let timer = Box::new(move |took: Duration| timing.replayed(took));
        let inboxes = InboxDesk::new(inbox, inbox_limits(&settings), timer);
        let router = Router::new(
            local,
            bus,
            Arc::clone(&directory),
            events.clone(),
            Arc::clone(&inboxes),
            settings.max_groups,
        );
        let edge = Edge::new(Arc::clone(&settings), hot, Arc::clone(&router), authenticator, metrics);

        let (background, stop) = (TaskTracker::new(), CancellationToken::new());
        let inbound: Arc<dyn Inbound> = Arc::clone(&router) as Arc<dyn Inbound>;
        let traffic = Arc::clone(&edge.traffic);
        cluster_tasks.run(inbound, Arc::new(move || traffic.load()), &background, stop.clone());
        let (registering, stopped) = (Arc::clone(&router), stop.clone());
        background.spawn(async move { registering.registry().run(stopped).await });
        background.spawn(Arc::clone(&inboxes).run(stop.clone()));
        let (groups, stopped) = (Arc::clone(router.groups()), stop.clone());
        background.spawn(async move { groups.run(stopped).await });
        let (remembering, every, stopped) = (Arc::clone(&router), settings.heartbeat_interval, stop.clone());
        background.spawn(async move { remembering.remember_nodes(every, stopped).await });
        let (budget, connections) = (Arc::clone(&edge.queue_budget), Arc::clone(router.local()));
        background.spawn(queue_keeper::run(budget, connections, stop.clone()));
        background.spawn(drain::worker::run(Arc::clone(&edge), stop.clone()));
        background.spawn(Arc::clone(&edge.traffic).run(stop.clone()));
        background.spawn(Arc::clone(&edge.heartbeat).run(stop.clone()));
        if let Some(events) = events.clone() {
            let stopped = stop.clone();
            background.spawn(async move { events.run(stopped).await });
        }
        background.spawn(Arc::clone(&api_keys).run(stop.clone()));
        if let Some(path) = settings.hot_settings_file.clone() {
            background.spawn(hot_reload::run(path, Arc::clone(&edge), stop.clone()));
        }
        if let Some(authenticator) = &edge.authenticator {
            background.spawn(Arc::clone(authenticator).run(stop.clone()));
        }

        let (sockets, stop_serving) = (TaskTracker::new(), CancellationToken::new());
        let stop_reading = CancellationToken::new();
        let cluster_counts = move || {
            let mut counts = cluster_counts(&counters, events.as_deref());
            let help = "Results of sends forgotten before their time, so that a repeat would be sent";
            counts.push(("idempotency_evictions", help, router.idempotency().evicted()));
            counts.extend(inbox_counts(inboxes.counts()));
            let (waited, refused) = router.moving_waits().counts();
            counts.push(("moving_waits", "Sends that waited for users on the move", waited));
            let help = "Sends that did not wait for users on the move, because too many did";
            counts.push(("moving_waits_refused", help, refused));
            counts
        };
        let service = Arc::new(Service {
            edge,
            api_keys,
            cluster_counts: Arc::new(cluster_counts),
            event_readers: Arc::new(Semaphore::new(READERS)),
            stopping: stop_reading.clone(),
        });
        if let Some(((client, _), (api, _))) = listeners {
            let client = Server {
                listener: client,
                router: routes::for_clients(&service),
                header_timeout: settings.handshake_timeout,
                pace: Some(Arc::clone(&service.edge.hot)),
                traced: false,
                metrics: Arc::clone(&service.edge.metrics),
                sockets: sockets.clone(),
            };
            let api = Server {
                listener: api,
                router: routes::for_backends(&service),
                header_timeout: API_IDLE,
                pace: None,
                traced: true,
                metrics: Arc::clone(&service.edge.metrics),
                sockets: sockets.clone(),
            };
            sockets.spawn(client.run(stop_serving.clone()));
            sockets.spawn(api.run(stop_serving.clone()));
        }
        Ok(Hub { service, directory, addresses, background, stop, sockets, stop_serving, stop_reading })
    }
}

fn listen(what: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), AppError> {
    let failed = |error| AppError::Listen { what, address, error };
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let bind = |socket: TcpSocket| {
        // A node that starts again takes its port over while old connections still linger (TIME_WAIT).
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    let listener = socket.and_then(bind).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

fn cluster_settings(settings: &Settings, client_port: u16, api_port: u16) -> ClusterSettings {
    let redis = settings.redis.clone().map(|redis| cluster::RedisSettings {
        mode: match redis.mode {
            RedisMode::Standalone => cluster::RedisMode::Standalone,
            RedisMode::Sentinel => cluster::RedisMode::Sentinel { master: redis.sentinel_master },
            RedisMode::Cluster => cluster::RedisMode::Cluster,
        },
        tls: redis.tls,
        hosts: redis.hosts,
        database: redis.database,
        username_file: redis.username_file,
        password_file: redis.password_file,
        ca_file: redis.ca_file,
        cert_file: redis.cert_file,
        key_file: redis.key_file,
    });
    ClusterSettings {
        redis,
        key_prefix: settings.key_prefix.clone(),
        owner: settings.owner.clone(),
        node: settings.node_id.clone(),
        node_ip: settings.node_ip.clone(),
        client_port,
        api_port,
        pod_uid: settings.pod_uid.clone(),
        zone: settings.zone.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        heartbeat_interval: settings.heartbeat_interval,
        lease: settings.lease,
        events: settings.events,
        inbox: inbox_limits(settings),
        login: LoginPolicy { most: settings.per_user.most, reject: settings.per_user.reject },
        resume_window: settings.resume_window,
    }
}

fn inbox_limits(settings: &Settings) -> InboxLimits {
    let InboxSettings { messages, bytes, ttl } = settings.inbox;
    InboxLimits { messages, bytes, ttl }
}

/// The names of the inboxes' counters among the metrics.
fn inbox_counts(counts: &InboxCounts) -> ClusterCounts {
    let c = counts;
    let named = [
        ("inbox_stored", "Messages stored", &c.stored),
        ("inbox_duplicates", "Repeats of messages that were stored before", &c.duplicates),
        ("inbox_trimmed", "Older stored messages that went for newer ones", &c.trimmed),
        ("inbox_refused_memory", "Stores refused because memory is short", &c.refused_memory),
        ("inbox_refused_registry", "Stores refused because Redis is away", &c.refused_registry),
        ("inbox_refused_request", "Stores refused: too large, or inboxes are off", &c.refused_request),
        ("inbox_unknown", "Stores of which nobody said whether they were carried out", &c.unknown),
        ("inbox_replays", "Replays begun: at connects, and for holes", &c.replays),
        ("inbox_replayed", "Stored messages sent by replays", &c.replayed),
        ("inbox_gaps", "Losses of stored messages that devices were told of", &c.gaps),
        (
            "inbox_page_errors",
            "Pages of replays that could not be read, and were tried again",
            &c.page_errors,
        ),
        ("inbox_acks_written", "Acknowledgements written", &c.acks),
        (
            "inbox_ack_errors",
            "Acknowledgements that could not be written, and were tried again",
            &c.ack_errors,
        ),
    ];
    named.into_iter().map(|(name, help, count)| (name, help, count.load(Ordering::Relaxed))).collect()
}

/// The names of the cluster's counters among the metrics.
fn cluster_counts(counters: &BusCounters, events: Option<&EventWriter>) -> ClusterCounts {
    let c = counters;
    let mut counts = vec![
        ("bus_batches_sent", "Batches published", c.batches_sent.get()),
        ("bus_envelopes_sent", "Envelopes published", c.envelopes_sent.get()),
        ("bus_sent_bytes", "Bytes published", c.bytes_sent.get()),
        ("bus_batches_received", "Batches of other nodes", c.batches_received.get()),
        ("bus_envelopes_received", "Envelopes of other nodes", c.envelopes_received.get()),
        ("bus_received_bytes", "Bytes of other nodes", c.bytes_received.get()),
        ("bus_gaps", "Batches missing between two that came", c.gaps.get()),
        ("bus_malformed", "Messages on a channel that are no batch", c.malformed.get()),
        ("bus_unknown_kinds", "Envelopes of a kind this release does not know", c.unknown_kinds.get()),
        (
            "bus_unregistered_drops",
            "Batches dropped while the lease was not held",
            c.dropped_unregistered.get(),
        ),
        ("bus_inbound_drops", "Envelopes refused because a shard's queue was full", c.dropped_inbound.get()),
        (
            "bus_outbound_drops",
            "Envelopes refused because a target's queue was full",
            c.dropped_outbound.get(),
        ),
        (
            "bus_outbound_expired",
            "Envelopes whose time ran out before they were sent",
            c.expired_outbound.get(),
        ),
        ("bus_publish_errors", "Envelopes in batches whose publish failed", c.publish_errors.get()),
        ("bus_no_receiver", "Envelopes published to a channel nobody listened on", c.no_receiver.get()),
        ("bus_reports_missed", "Reports that did not come in time", c.reports_missed.get()),
        ("bus_subscriptions", "Subscriptions built", c.subscriptions.get()),
        ("reaped_users", "Users whose entries of a dead node were swept", c.reaped_users.get()),
        ("reaped_nodes", "Dead incarnations removed", c.reaped_nodes.get()),
        ("heartbeat_errors", "Heartbeats that failed", c.heartbeat_errors.get()),
    ];
    if let Some(events) = events {
        counts.push(("events_written", "Events written for the backend", events.written()));
        counts.push(("events_dropped", "Events that found the queue to the log full", events.dropped()));
    }
    counts
}
