//! Kinds that come and go with other people's definitions: which of them are served, and watches that begin and end with
//! that.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream, Stream, StreamExt};
use k8s_openapi::Resource as _;
use kube::Client;
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::desired::optional::{HttpRoute, PodMonitor, PrometheusRule, Served};

use super::cache::CHILDREN;
use super::error::status_code;

/// Longest pause between two looks at what is served.
const LOOK_EVERY: Duration = Duration::from_secs(300);

type Events = BoxStream<'static, watcher::Result<Event<DynamicObject>>>;

/// Every optional kind.
#[must_use]
pub fn kinds() -> Vec<ApiResource> {
    let resource = |group, version, kind, plural| {
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
    };
    vec![
        resource(PodMonitor::GROUP, PodMonitor::VERSION, PodMonitor::KIND, PodMonitor::URL_PATH_SEGMENT),
        resource(
            PrometheusRule::GROUP,
            PrometheusRule::VERSION,
            PrometheusRule::KIND,
            PrometheusRule::URL_PATH_SEGMENT,
        ),
        resource(HttpRoute::GROUP, HttpRoute::VERSION, HttpRoute::KIND, HttpRoute::URL_PATH_SEGMENT),
    ]
}

/// Objects of a kind, in one namespace or in all.
#[must_use]
pub fn api(client: &Client, namespace: Option<&str>, resource: &ApiResource) -> Api<DynamicObject> {
    match namespace {
        Some(name) => Api::namespaced_with(client.clone(), name, resource),
        None => Api::all_with(client.clone(), resource),
    }
}

/// Looks which kinds are served and may be listed; what cannot be told stays as it was before.
pub async fn look(client: &Client, namespace: Option<&str>, before: Served) -> Served {
    let mut served = before;
    for resource in kinds() {
        match is_served(client, namespace, &resource).await {
            Ok(now) => served.set(&resource.kind, now),
            Err(error) => tracing::debug!(kind = resource.kind, "cannot tell whether it is served: {error}"),
        }
    }
    served
}

async fn is_served(
    client: &Client,
    namespace: Option<&str>,
    resource: &ApiResource,
) -> Result<bool, kube::Error> {
    // One list tells both: an unknown kind is 404, and without the right to it the kind is of no use.
    match api(client, namespace, resource).list(&ListParams::default().limit(1)).await {
        Ok(_) => Ok(true),
        Err(error) => match status_code(&error) {
            Some(404) => Ok(false),
            Some(403) => {
                tracing::debug!(kind = resource.kind, "not used: the operator may not list it");
                Ok(false)
            }
            _ => Err(error),
        },
    }
}

/// Looks again and again, until the shutdown.
pub async fn keep_looking(
    client: Client,
    namespace: Option<String>,
    every: Duration,
    found: Arc<watch::Sender<Served>>,
    shutdown: CancellationToken,
) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(every.min(LOOK_EVERY)) => {}
        }
        let before = *found.borrow();
        let now = look(&client, namespace.as_deref(), before).await;
        if now != before {
            tracing::info!(?now, "optional kinds changed");
            found.send_replace(now);
        }
    }
}

struct Phase {
    api: Api<DynamicObject>,
    kind: String,
    served: watch::Receiver<Served>,
    watch: Option<Events>,
    /// Whether the reader knows that there is nothing, which also ends its wait for a first list.
    emptied: bool,
    pending: VecDeque<Event<DynamicObject>>,
}

/// Watch events of an optional kind. While it is not served the stream says once that there is nothing, and waits.
pub fn events(
    api: Api<DynamicObject>,
    kind: String,
    served: watch::Receiver<Served>,
) -> impl Stream<Item = watcher::Result<Event<DynamicObject>>> + Send + 'static {
    let begin = Phase { api, kind, served, watch: None, emptied: false, pending: VecDeque::new() };
    stream::unfold(begin, |mut phase| async move {
        loop {
            if let Some(event) = phase.pending.pop_front() {
                return Some((Ok(event), phase));
            }
            let is_served = phase.served.borrow_and_update().has(&phase.kind);
            if !is_served {
                phase.watch = None;
                if phase.emptied {
                    phase.served.changed().await.ok()?;
                } else {
                    phase.emptied = true;
                    phase.pending = VecDeque::from([Event::Init, Event::InitDone]);
                }
                continue;
            }
            phase.emptied = false;
            let api = &phase.api;
            let watch = phase.watch.get_or_insert_with(|| {
                watcher(api.clone(), watcher::Config::default().labels(CHILDREN)).default_backoff().boxed()
            });
            tokio::select! {
                event = watch.next() => return Some((event?, phase)),
                changed = phase.served.changed() => changed.ok()?,
            }
        }
    })
}

/// Says each time that what is served has changed.
pub fn changes(served: watch::Receiver<Served>) -> impl Stream<Item = ()> + Send + 'static {
    stream::unfold(served, |mut served| async move {
        served.changed().await.ok()?;
        Some(((), served))
    })
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use kube::runtime::watcher::Event;
    use kube::{Client, Config};
    use tokio::sync::watch;

    use super::{api, changes, events, kinds};
    use crate::desired::optional::Served;

    #[test]
    fn every_optional_kind_is_known_by_its_name() {
        for resource in kinds() {
            assert!(Served::ALL.has(&resource.kind), "{}", resource.kind);
            let mut served = Served::default();
            served.set(&resource.kind, true);
            assert!(served.has(&resource.kind) && served != Served::ALL, "{}", resource.kind);
        }
        assert!(!Served::ALL.has("Service"));
    }

    #[tokio::test]
    async fn a_kind_that_is_not_served_is_an_empty_list_and_no_error() {
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = Client::try_from(Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
        let (sender, served) = watch::channel(Served::default());
        let resource = kinds().remove(0);
        let mut stream = Box::pin(events(api(&client, None, &resource), resource.kind, served.clone()));
        assert!(matches!(stream.next().await, Some(Ok(Event::Init))));
        assert!(matches!(stream.next().await, Some(Ok(Event::InitDone))));
        let mut told = Box::pin(changes(served));
        sender.send_replace(Served::ALL);
        assert_eq!(told.next().await, Some(()));
        // Now it is watched, and nobody listens there.
        assert!(matches!(stream.next().await, Some(Err(_)) | Some(Ok(Event::Init))));
        drop(sender);
        assert_eq!(told.next().await, None);
    }
}
