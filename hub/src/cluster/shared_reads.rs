//! Reads of the same thing at the same time become one read, which is never older than the wish for it.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};
use parking_lot::Mutex;

type Reading<T> = Shared<BoxFuture<'static, T>>;

/// One read of one thing at a time. Who comes while it runs waits for the next one, together with all others who came
/// meanwhile: the answer of the first may be older than their question.
pub(super) struct SharedReads<K, T: Clone>(Arc<Mutex<HashMap<K, Gate<T>>>>);

struct Gate<T: Clone> {
    /// The read that runs, or the next one if none runs, takes its turn here.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// The read that has not begun.
    next: Option<WeakShared<BoxFuture<'static, T>>>,
    readers: usize,
}

/// Takes the gate away when the last reader goes.
struct Reader<K: Hash + Eq, T: Clone> {
    gates: Arc<Mutex<HashMap<K, Gate<T>>>>,
    key: K,
}

impl<K: Hash + Eq, T: Clone> Drop for Reader<K, T> {
    fn drop(&mut self) {
        let mut gates = self.gates.lock();
        if let Some(gate) = gates.get_mut(&self.key) {
            gate.readers -= 1;
            if gate.readers == 0 {
                gates.remove(&self.key);
            }
        }
    }
}

impl<K, T> SharedReads<K, T>
where
    K: Hash + Eq + Clone + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    /// What a read says that begins after this call; `read` makes one.
    pub(super) async fn get(&self, key: &K, read: impl FnOnce() -> BoxFuture<'static, T>) -> T {
        let (reading, _reader) = self.join(key, read);
        reading.await
    }

    fn join(&self, key: &K, read: impl FnOnce() -> BoxFuture<'static, T>) -> (Reading<T>, Reader<K, T>) {
        let mut gates = self.0.lock();
        let gate =
            gates.entry(key.clone()).or_insert_with(|| Gate { turn: Arc::default(), next: None, readers: 0 });
        gate.readers += 1;
        let reader = Reader { gates: Arc::clone(&self.0), key: key.clone() };
        if let Some(next) = gate.next.as_ref().and_then(WeakShared::upgrade) {
            return (next, reader);
        }
        let (turn, gates_again, key, read) =
            (Arc::clone(&gate.turn), Arc::clone(&self.0), key.clone(), read());
        let reading = async move {
            let _turn = turn.lock_owned().await;
            // From here on it is too old for whoever comes.
            if let Some(gate) = gates_again.lock().get_mut(&key) {
                gate.next = None;
            }
            read.await
        };
        let reading = reading.boxed().shared();
        gate.next = reading.downgrade();
        (reading, reader)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    /// Reads that count themselves and end when allowed to.
    struct Source {
        reads: SharedReads<&'static str, u32>,
        begun: Arc<AtomicU32>,
        allowed: Arc<Semaphore>,
    }

    impl Source {
        async fn get(&self, key: &'static str) -> u32 {
            let (begun, allowed) = (Arc::clone(&self.begun), Arc::clone(&self.allowed));
            let read = async move {
                let number = begun.fetch_add(1, Ordering::SeqCst) + 1;
                allowed.acquire().await.unwrap().forget();
                number
            };
            self.reads.get(&key, || read.boxed()).await
        }
    }

    fn source() -> Arc<Source> {
        let (begun, allowed) = (Arc::default(), Arc::new(Semaphore::new(0)));
        Arc::new(Source { reads: SharedReads::new(), begun, allowed })
    }

    #[tokio::test]
    async fn those_who_come_during_a_read_share_the_next_one() {
        let source = source();
        let get = |key| {
            let source = Arc::clone(&source);
            Box::pin(async move { source.get(key).await })
        };
        let mut first = get("a");
        assert!(futures::poll!(&mut first).is_pending());
        let mut late: Vec<_> = (0..50).map(|_| get("a")).collect();
        for reader in &mut late {
            assert!(futures::poll!(reader).is_pending());
        }
        let mut other = get("b");
        assert!(futures::poll!(&mut other).is_pending());
        assert_eq!(source.begun.load(Ordering::SeqCst), 2, "one of each; the late wait for the first to end");
        source.allowed.add_permits(100);
        assert_eq!((first.await, other.await), (1, 2));
        assert_eq!(futures::future::join_all(late).await, [3; 50]);
        assert!(source.reads.0.lock().is_empty(), "nothing is kept");
    }

    #[tokio::test]
    async fn readers_who_give_up_take_nobody_along() {
        let source = source();
        let get = || {
            let source = Arc::clone(&source);
            Box::pin(async move { source.get("a").await })
        };
        let (mut first, mut second, mut third) = (get(), get(), get());
        for reader in [&mut first, &mut second, &mut third] {
            assert!(futures::poll!(reader).is_pending());
        }
        drop(first);
        drop(second);
        source.allowed.add_permits(100);
        assert_eq!(third.await, 2);
        assert_eq!(get().await, 3);
        assert!(source.reads.0.lock().is_empty());
    }
}
