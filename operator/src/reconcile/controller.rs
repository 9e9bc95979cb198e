//! Watches, queue, back-off and bounded concurrency for one scope: all namespaces, or one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Error as ControllerError, ReconcileRequest};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{Config, WatchStreamExt, applier, watcher};
use kube::{Client, Resource, ResourceExt};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::api::WscCluster;
use crate::desired::labels::CLUSTER;
use crate::desired::optional::Served;
use crate::observe::metrics::PassResult;
use crate::observe::readiness::Readiness;

use super::cache::{CHILDREN, Caches, HUB_PODS, child_kinds};
use super::context::{Context, Shared};
use super::error::{ReconcileError, status_code};
use super::memory::ClusterKey;
use super::optional_kinds;
use super::pass::Pass;
use super::undecodable;
use super::watched::Watched;

/// A resource as it comes from the watch, readable or not.
pub type Guarded = DeserializeGuard<WscCluster>;

type Requests = BoxStream<'static, Result<ReconcileRequest<Guarded>, watcher::Error>>;

/// A pass that takes longer is given up and counted as failed.
const PASS_LIMIT: Duration = Duration::from_secs(60);

/// Pause after a conflict: the watch needs a moment to bring the newer resource.
const AFTER_CONFLICT: Duration = Duration::from_millis(250);

/// Pause while the namespace is being deleted; the deletion of the resource is an event anyway.
const NAMESPACE_ENDS: Duration = Duration::from_secs(10);

/// Pause between looks for the definition of the resource.
const DEFINITION_EVERY: Duration = Duration::from_secs(5);

/// Runs the controller of one scope until the shutdown, letting passes under way finish.
/// Dropping the future ends it at once.
pub async fn run(
    shared: Arc<Shared>,
    namespace: Option<String>,
    concurrency: u16,
    readiness: Arc<Readiness>,
    shutdown: CancellationToken,
) {
    let scope = namespace.clone().unwrap_or_else(|| "all namespaces".to_owned());
    if !definition_served(&shared.client, namespace.as_deref(), &readiness, &shutdown).await {
        return;
    }
    let waiting = format!("the caches of {scope}");
    readiness.wait_for(waiting.clone());

    let mut requests: SelectAll<Requests> = SelectAll::new();
    let (clusters, writer) = reflector::store::<Guarded>();
    requests.push(cluster_requests(&shared.client, namespace.as_deref(), writer));
    let mut children = Vec::new();
    for resource in child_kinds() {
        let api = optional_kinds::api(&shared.client, namespace.as_deref(), &resource);
        let config = watcher::Config::default().labels(CHILDREN);
        let (kind, touched) = Watched::new(resource, watcher(api, config).default_backoff());
        requests.push(owner_requests(touched));
        children.push(kind);
    }
    let before = optional_kinds::look(&shared.client, namespace.as_deref(), Served::default()).await;
    let (found, served) = watch::channel(before);
    for resource in optional_kinds::kinds() {
        let api = optional_kinds::api(&shared.client, namespace.as_deref(), &resource);
        let events = optional_kinds::events(api, resource.kind.clone(), served.clone());
        let (kind, touched) = Watched::new(resource, events);
        requests.push(owner_requests(touched));
        children.push(kind);
    }
    requests.push(everybody(clusters.clone(), optional_kinds::changes(served.clone())));
    let looking = optional_kinds::keep_looking(
        shared.client.clone(),
        namespace.clone(),
        shared.defaults.resync,
        Arc::new(found),
        shutdown.clone(),
    );
    let config = watcher::Config::default().labels(HUB_PODS);
    let events = watcher(api_of::<Pod>(&shared.client, namespace.as_deref()), config).default_backoff();
    let (pods, touched) = Watched::new((), events);
    requests.push(owner_requests(touched));

    let context =
        Arc::new(Context { caches: Caches::new(children, pods, served), shared: Arc::clone(&shared) });
    let filled = {
        let (context, clusters, readiness) = (Arc::clone(&context), clusters.clone(), Arc::clone(&readiness));
        async move {
            if context.caches.ready().await.is_ok() && clusters.wait_until_ready().await.is_ok() {
                readiness.done(&waiting);
                tracing::info!(scope, "watching");
            }
        }
    };
    let outcomes = applier(
        |object, context| Box::pin(reconcile(object, context)),
        |object, error, context| on_error(&object, error, &context),
        context,
        clusters.clone(),
        requests.take_until(shutdown.clone().cancelled_owned()),
        Config::default().concurrency(concurrency),
    )
    .for_each(|outcome| {
        after(&shared, &clusters, outcome);
        std::future::ready(())
    });
    // The caches fill only while the queue is polled, so both run here, and neither must outlive
    // the queue.
    // At a shutdown before that nothing fills them any more. Passes wait for them, so none has done anything yet,
    // and the queue, which waits as well, would never end.
    let noted = async {
        tokio::select! {
            () = async { futures::join!(filled, looking); } => std::future::pending::<()>().await,
            () = shutdown.cancelled() => {}
        }
    };
    tokio::select! {
        () = outcomes => {}
        () = noted => {}
    }
}

fn api_of<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = kube::core::NamespaceResourceScope>,
    K::DynamicType: Default,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Waits until the API server knows the resource. False when the shutdown came first.
async fn definition_served(
    client: &Client,
    namespace: Option<&str>,
    readiness: &Readiness,
    shutdown: &CancellationToken,
) -> bool {
    const WAITING: &str = "the definition wscclusters.wsc.dev (apply crds/wscclusters.wsc.dev.yaml)";
    let api: Api<Guarded> = api_of(client, namespace);
    let mut complained = String::new();
    loop {
        let problem = match api.list(&ListParams::default().limit(1)).await {
            Ok(_) => {
                readiness.done(WAITING);
                return true;
            }
            Err(error) if status_code(&error) == Some(404) => format!("waiting for {WAITING}"),
            Err(error) => format!("waiting for the API server: {error}"),
        };
        readiness.wait_for(WAITING);
        if problem != complained {
            tracing::warn!("{problem}");
            complained = problem;
        }
        tokio::select! {
            () = shutdown.cancelled() => return false,
            () = tokio::time::sleep(DEFINITION_EVERY) => {}
        }
    }
}

fn cluster_requests(client: &Client, namespace: Option<&str>, writer: Writer<Guarded>) -> Requests {
    watcher(api_of::<Guarded>(client, namespace), watcher::Config::default())
        .default_backoff()
        .reflect(writer)
        .touched_objects()
        .map(|object| object.map(|object| ObjectRef::from_obj(&object).into()))
        .boxed()
}

/// Requests for the clusters that own what a stream yields, deletions included.
fn owner_requests<K, S>(stream: S) -> Requests
where
    K: Resource + 'static,
    S: futures::Stream<Item = Result<K, watcher::Error>> + Send + 'static,
{
    stream
        .filter_map(|object| {
            std::future::ready(match object {
                Ok(object) => owner(&object).map(|owner| Ok(owner.into())),
                Err(error) => Some(Err(error)),
            })
        })
        .boxed()
}

/// The owner reference first, because a user can edit the label away.
fn owner<K: Resource>(object: &K) -> Option<ObjectRef<Guarded>> {
    let namespace = object.namespace()?;
    let owned = object
        .owner_references()
        .iter()
        .find(|owner| owner.kind == "WscCluster")
        .map(|owner| owner.name.clone());
    let name = owned.or_else(|| object.labels().get(CLUSTER).cloned())?;
    Some(ObjectRef::new(&name).within(&namespace))
}

/// Requests for all clusters, each time that something which concerns all of them has changed.
fn everybody(
    clusters: Store<Guarded>,
    changes: impl futures::Stream<Item = ()> + Send + 'static,
) -> Requests {
    changes
        .flat_map(move |()| {
            let all: Vec<_> = clusters
                .state()
                .iter()
                .map(|object| Ok(ObjectRef::from_obj(object.as_ref()).into()))
                .collect();
            futures::stream::iter(all)
        })
        .boxed()
}

fn key_of(namespace: Option<&str>, name: &str) -> ClusterKey {
    (namespace.unwrap_or_default().to_owned(), name.to_owned())
}

async fn reconcile(object: Arc<Guarded>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let started = Instant::now();
    let shared = &context.shared;
    let result = timeout(PASS_LIMIT, one_pass(&object, &context))
        .await
        .unwrap_or(Err(ReconcileError::Slow(PASS_LIMIT.as_secs())));
    let outcome = match &result {
        Ok(_) => PassResult::Ok,
        Err(ReconcileError::Stale | ReconcileError::NamespaceEnding) => PassResult::Conflict,
        Err(_) => PassResult::Error,
    };
    shared.metrics.pass(outcome, started.elapsed());
    shared.metrics.clusters(shared.memory.len());
    if outcome == PassResult::Ok {
        let meta = object.meta();
        let name = meta.name.as_deref().unwrap_or_default();
        shared.memory.succeeded(&key_of(meta.namespace.as_deref(), name));
    }
    result
}

async fn one_pass(object: &Guarded, context: &Context) -> Result<Action, ReconcileError> {
    let shared = &context.shared;
    let meta = object.meta();
    let key = key_of(meta.namespace.as_deref(), meta.name.as_deref().unwrap_or_default());
    if meta.deletion_timestamp.is_some() {
        // Everything is owned by the resource and goes with it; nothing here may stand in the way.
        return Ok(Action::await_change());
    }
    let cluster = match &object.0 {
        Ok(cluster) => cluster,
        Err(invalid) => {
            undecodable::report(&shared.client, &shared.metrics, invalid).await?;
            return Ok(Action::requeue(shared.defaults.resync));
        }
    };
    context.caches.ready().await?;
    let memory = shared.memory.of(&key);
    let mut memory = memory.lock().await;
    let uid = meta.uid.clone().unwrap_or_default();
    if memory.uid != uid {
        *memory = super::memory::ClusterMemory { uid, ..Default::default() };
    }
    Pass::new(context, cluster)?.run(&mut memory).await
}

fn on_error(object: &Guarded, error: &ReconcileError, context: &Context) -> Action {
    match error {
        ReconcileError::Stale => return Action::requeue(AFTER_CONFLICT),
        ReconcileError::NamespaceEnding => return Action::requeue(NAMESPACE_ENDS),
        _ => {}
    }
    let meta = object.meta();
    let name = meta.name.as_deref().unwrap_or_default();
    let namespace = meta.namespace.as_deref();
    let pause = context.shared.memory.failed(&key_of(namespace, name), Instant::now());
    tracing::warn!(namespace, cluster = name, retry_s = pause.as_secs(), "pass failed: {error}");
    Action::requeue(pause)
}

fn after(
    shared: &Shared,
    clusters: &Store<Guarded>,
    outcome: Result<(ObjectRef<Guarded>, Action), ControllerError<ReconcileError, watcher::Error>>,
) {
    match outcome {
        // Failed passes were logged where the pause was chosen.
        Ok(_) | Err(ControllerError::ReconcilerFailed(..)) => {}
        Err(ControllerError::ObjectNotFound(reference)) => {
            let key = key_of(reference.namespace.as_deref(), &reference.name);
            shared.memory.forget(&key);
            shared.metrics.clusters(clusters.len());
        }
        Err(ControllerError::QueueError(error)) => tracing::warn!("watch failed: {error}"),
        Err(ControllerError::RunnerError(error)) => tracing::warn!("controller: {error}"),
    }
}
