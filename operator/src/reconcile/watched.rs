//! Watched objects of one kind: by name, and by the cluster that they belong to.
//!
//! A reflector's store alone answers the second question by looking at every object of every cluster, and each pass over
//! each cluster asks it several times.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Arc, PoisonError, RwLock};

use futures::{Stream, StreamExt};
use kube::Resource;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, Event};

use crate::desired::labels::CLUSTER;

use super::error::ReconcileError;
use super::memory::ClusterKey;

/// The objects of one kind that carry the label of a cluster.
#[derive(Debug)]
pub struct Watched<K>
where
    K: Resource + Clone + 'static,
    <K as Resource>::DynamicType: Eq + Hash + Clone + Debug,
{
    kind: <K as Resource>::DynamicType,
    store: Store<K>,
    index: Arc<RwLock<Index>>,
}

impl<K> Watched<K>
where
    K: Resource + Clone + Send + Sync + 'static,
    <K as Resource>::DynamicType: Eq + Hash + Clone + Debug + Send + Sync,
{
    /// Objects that are filled from watch events, and what is touched, which fills them while it is polled.
    pub fn new(
        kind: <K as Resource>::DynamicType,
        events: impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
    ) -> (Self, impl Stream<Item = watcher::Result<K>> + Send + 'static) {
        let writer = Writer::<K>::new(kind.clone());
        let index = Arc::new(RwLock::new(Index::default()));
        let watched = Self { kind, store: writer.as_reader(), index: Arc::clone(&index) };
        let touched = events
            .modify(|object| object.meta_mut().managed_fields = None)
            .reflect(writer)
            .inspect(move |event| {
                if let Ok(event) = event {
                    index.write().unwrap_or_else(PoisonError::into_inner).follow(event);
                }
            })
            .touched_objects();
        (watched, touched)
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> &<K as Resource>::DynamicType {
        &self.kind
    }

    /// Waits until all objects are known.
    ///
    /// # Errors
    /// When the watch ended before.
    pub async fn ready(&self) -> Result<(), ReconcileError> {
        self.store.wait_until_ready().await.map_err(|_| ReconcileError::CacheLost)
    }

    /// The object of a name.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.store.get(&ObjectRef::new_with(name, self.kind.clone()).within(namespace))
    }

    /// Every object that carries a cluster's label, by name.
    #[must_use]
    pub fn of(&self, namespace: &str, cluster: &str) -> Vec<Arc<K>> {
        let names = self.index.read().unwrap_or_else(PoisonError::into_inner).names(namespace, cluster);
        names.iter().filter_map(|name| self.get(namespace, name)).collect()
    }
}

/// Namespace and name of an object.
type ObjectKey = (String, String);

/// Names of objects by the cluster whose label they carry.
#[derive(Debug, Default)]
struct Index {
    now: Homes,
    /// A list that is still coming in.
    coming: Homes,
}

#[derive(Debug, Default)]
struct Homes {
    of: HashMap<ObjectKey, String>,
    names: HashMap<ClusterKey, BTreeSet<String>>,
}

impl Index {
    /// What the store does with an event as well.
    fn follow(&mut self, event: &Event<impl Resource>) {
        match event {
            Event::Apply(object) => self.now.put(object),
            Event::Delete(object) => self.now.take(&object_key(object)),
            Event::Init => self.coming = Homes::default(),
            Event::InitApply(object) => self.coming.put(object),
            Event::InitDone => self.now = std::mem::take(&mut self.coming),
        }
    }

    fn names(&self, namespace: &str, cluster: &str) -> Vec<String> {
        let names = self.now.names.get(&(namespace.to_owned(), cluster.to_owned()));
        names.into_iter().flatten().cloned().collect()
    }
}

impl Homes {
    fn put(&mut self, object: &impl Resource) {
        let key = object_key(object);
        // The label may have been edited.
        self.take(&key);
        let labels = object.meta().labels.as_ref();
        if let Some(cluster) = labels.and_then(|labels| labels.get(CLUSTER)) {
            let (namespace, name) = key.clone();
            self.names.entry((namespace, cluster.clone())).or_default().insert(name);
            self.of.insert(key, cluster.clone());
        }
    }

    fn take(&mut self, key: &ObjectKey) {
        let Some(cluster) = self.of.remove(key) else { return };
        let home = (key.0.clone(), cluster);
        if let Some(names) = self.names.get_mut(&home) {
            names.remove(&key.1);
            if names.is_empty() {
                self.names.remove(&home);
            }
        }
    }
}

fn object_key(object: &impl Resource) -> ObjectKey {
    let meta = object.meta();
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use futures::StreamExt;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::runtime::watcher::Event;

    use super::Watched;
    use crate::desired::labels::CLUSTER;

    fn object(namespace: &str, name: &str, cluster: &str) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.namespace = Some(namespace.to_owned());
        object.metadata.name = Some(name.to_owned());
        object.metadata.labels = Some([(CLUSTER.to_owned(), cluster.to_owned())].into());
        object
    }

    /// What is there of cluster `chat` in namespace `one` after these events, and how many clusters the index knows.
    async fn chat_after(events: Vec<Event<ConfigMap>>) -> (Vec<String>, usize) {
        let (watched, touched) = Watched::new((), futures::stream::iter(events).map(Ok));
        touched.for_each(|_| std::future::ready(())).await;
        let names =
            watched.of("one", "chat").iter().filter_map(|object| object.metadata.name.clone()).collect();
        let index = watched.index.read().unwrap();
        assert_eq!(index.now.of.len(), index.now.names.values().map(BTreeSet::len).sum::<usize>());
        (names, index.now.names.len())
    }

    #[tokio::test]
    async fn objects_are_found_by_name_and_by_cluster() {
        let events = vec![
            Event::Init,
            Event::InitApply(object("one", "b", "chat")),
            Event::InitApply(object("one", "a", "chat")),
            Event::InitApply(object("one", "c", "other")),
            Event::InitApply(object("two", "a", "chat")),
            Event::InitDone,
        ];
        let (watched, touched) = Watched::new((), futures::stream::iter(events.clone()).map(Ok));
        assert_eq!(touched.count().await, 4);
        assert!(watched.get("one", "c").is_some());
        assert!(watched.get("two", "c").is_none());
        assert_eq!(chat_after(events).await, (vec!["a".to_owned(), "b".to_owned()], 3));
    }

    #[tokio::test]
    async fn a_deleted_object_and_one_of_another_label_are_gone() {
        let events = vec![
            Event::Init,
            Event::InitDone,
            Event::Apply(object("one", "a", "chat")),
            Event::Apply(object("one", "a", "chat")),
            Event::Apply(object("one", "b", "chat")),
            Event::Apply(object("one", "c", "chat")),
            Event::Delete(object("one", "b", "chat")),
            Event::Apply(object("one", "a", "other")),
            Event::Delete(object("one", "a", "other")),
        ];
        assert_eq!(chat_after(events).await, (vec!["c".to_owned()], 1));
    }

    #[tokio::test]
    async fn a_new_list_replaces_what_was_there_only_when_it_is_whole() {
        let mut events = vec![
            Event::Init,
            Event::InitApply(object("one", "a", "chat")),
            Event::InitDone,
            Event::Init,
            Event::InitApply(object("one", "b", "chat")),
        ];
        assert_eq!(chat_after(events.clone()).await, (vec!["a".to_owned()], 1));
        events.push(Event::InitDone);
        assert_eq!(chat_after(events).await, (vec!["b".to_owned()], 1));
    }
}
