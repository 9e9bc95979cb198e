//! Starts, stops and joins everything.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::hub_admin::client::HubAdminClient;
use crate::observe::http;
use crate::observe::metrics::Metrics;
use crate::observe::readiness::Readiness;
use crate::reconcile::context::{Defaults, Shared};
use crate::reconcile::controller;
use crate::reconcile::events::Events;
use crate::reconcile::leadership::Candidate;
use crate::reconcile::memory::Memory;
use crate::settings::{Settings, Watched};

/// Passes under way at the end get this long.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// Runs the operator until SIGTERM or SIGINT.
///
/// # Errors
/// When something needed to start is missing, or the HTTP listener fails.
pub async fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    let shutdown = CancellationToken::new();
    let tasks = TaskTracker::new();
    tasks.spawn(on_signal(shutdown.clone())?);

    let metrics = Arc::new(Metrics::default());
    let readiness = Arc::new(Readiness::default());
    let listener = TcpListener::bind(settings.listen)
        .await
        .with_context(|| format!("cannot listen on {}", settings.listen))?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        listen = %listener.local_addr().context("the listener has no address")?,
        hub_image = settings.hub_image,
        redis_image = settings.redis_image,
        watched = ?settings.watched,
        identity = settings.identity,
        "starting"
    );
    let router = http::router(Arc::clone(&metrics), Arc::clone(&readiness));
    let http_stop = CancellationToken::new();
    tasks.spawn({
        let (stop, shutdown) = (http_stop.clone(), shutdown.clone());
        async move {
            if let Err(error) = http::serve(listener, router, stop).await {
                tracing::error!("HTTP listener failed: {error}");
                shutdown.cancel();
            }
        }
    });

    let client = Client::try_default()
        .await
        .context("no way to reach Kubernetes: run in a pod with a service account, or set KUBECONFIG")?;
    let shared = Arc::new(Shared {
        hub_admin: Box::new(HubAdminClient::new().context("cannot make the HTTP client")?),
        events: Events::new(client.clone(), settings.identity.clone()),
        memory: Memory::default(),
        metrics: Arc::clone(&metrics),
        defaults: Defaults {
            hub_image: settings.hub_image.clone(),
            redis_image: settings.redis_image.clone(),
            resync: settings.resync,
            cluster_scope: settings.watched == Watched::All,
        },
        client,
    });
    lead(&settings, &shared, &readiness, &shutdown).await;

    readiness.stopping();
    shutdown.cancel();
    http_stop.cancel();
    tasks.close();
    if timeout(Duration::from_secs(5), tasks.wait()).await.is_err() {
        tracing::warn!("some tasks did not end in time");
    }
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Leads whenever the lease allows, until the shutdown.
async fn lead(
    settings: &Settings,
    shared: &Arc<Shared>,
    readiness: &Arc<Readiness>,
    shutdown: &CancellationToken,
) {
    let Some(election) = &settings.election else {
        shared.metrics.leading(true);
        readiness.leading();
        control(settings, shared, readiness, shutdown).await;
        return;
    };
    let api = Api::<Lease>::namespaced(shared.client.clone(), &election.namespace);
    let mut candidate = Candidate::new(api, election.lease.clone(), settings.identity.clone());
    while !shutdown.is_cancelled() {
        readiness.standing_by();
        let Some(acquired) = candidate.acquire(shutdown).await else {
            return;
        };
        shared.metrics.leading(true);
        readiness.leading();
        // Renewal goes on while the last passes finish, so that nobody takes over in between.
        let controlled = control(settings, shared, readiness, shutdown);
        let never = CancellationToken::new();
        // Losing the lease drops the controllers at once: no pass may write any more. It is looked
        // at first, so that a process that was frozen learns of it before it goes on.
        let lost = tokio::select! {
            biased;
            _ = candidate.hold(acquired, &never) => true,
            () = controlled => false,
        };
        if !lost {
            candidate.release().await;
        }
        shared.metrics.leading(false);
    }
}

/// One controller for each watched scope, until the shutdown.
async fn control(
    settings: &Settings,
    shared: &Arc<Shared>,
    readiness: &Arc<Readiness>,
    shutdown: &CancellationToken,
) {
    let scopes = match &settings.watched {
        Watched::All => vec![None],
        Watched::Namespaces(names) => names.iter().cloned().map(Some).collect(),
    };
    let controllers = scopes.into_iter().map(|scope| {
        controller::run(
            Arc::clone(shared),
            scope,
            settings.concurrency,
            Arc::clone(readiness),
            shutdown.clone(),
        )
    });
    let all = futures::future::join_all(controllers);
    let limit = async {
        shutdown.cancelled().await;
        tokio::time::sleep(STOP_LIMIT).await;
    };
    tokio::select! {
        _ = all => {}
        () = limit => tracing::warn!("passes under way did not end in time"),
    }
}

/// Cancels the token at SIGTERM or SIGINT.
fn on_signal(shutdown: CancellationToken) -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM, stopping"),
            _ = interrupt.recv() => tracing::info!("SIGINT, stopping"),
            () = shutdown.cancelled() => {}
        }
        shutdown.cancel();
    })
}
