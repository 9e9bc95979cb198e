//! Builds a hub, in the order of what needs what.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpSocket},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{AppError, Hub, cluster_counts, hot_reload};
use crate::{
    auth::{ApiKeys, Authenticator},
    cluster::{self, ClusterParts, ClusterSettings},
    http::{
        events::READERS,
        routes,
        server::{BACKLOG, Server},
        service::Service,
    },
    local::connection_table::ConnectionTable,
    observe::Metrics,
    routing::{
        event_writer::EventWriter,
        inbox::InboxLimits,
        inbox_desk::InboxDesk,
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
            let waits = router.moving_waits().counts();
            cluster_counts::all(
                &counters,
                inboxes.counts(),
                events.as_deref().map(|events| (events.written(), events.dropped())),
                router.idempotency().evicted(),
                waits,
            )
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
