//! What a message is given when it is accepted: an id that rises, and the time.

use std::{
    cell::RefCell,
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};

use time::{OffsetDateTime, macros::format_description};
use ulid::Ulid;

use crate::protocol::millis::millis_since_epoch;

/// Low bits of the counter: ids of one millisecond. What comes beyond them goes on in the next one.
const PER_MILLISECOND_BITS: u32 = 20;
/// Random bits of an id that are the node's own: 80 less those of the counter.
const OWN_BITS: u32 = 80 - PER_MILLISECOND_BITS;

/// Makes ids that rise on this node whatever thread asks, and differ from those of all other nodes and lives. Takes no
/// lock: the time and a counter share one word.
#[derive(Debug)]
pub struct MessageIds {
    last: AtomicU64,
    own: u64,
}

impl Default for MessageIds {
    fn default() -> Self {
        Self { last: AtomicU64::new(0), own: rand::random::<u64>() >> (u64::BITS - OWN_BITS) }
    }
}

impl MessageIds {
    /// The next id. A clock that goes back does not: the ids go on from the last one.
    pub fn next(&self, now: SystemTime) -> Ulid {
        let floor = millis(now) << PER_MILLISECOND_BITS;
        let after = |last: u64| last.saturating_add(1).max(floor);
        let last = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(after(last)));
        let (Ok(last) | Err(last)) = last;
        let id = after(last);
        let in_millisecond = id & ((1 << PER_MILLISECOND_BITS) - 1);
        let random = u128::from(in_millisecond) << OWN_BITS | u128::from(self.own);
        Ulid::from_parts(id >> PER_MILLISECOND_BITS, random)
    }
}

fn millis(at: SystemTime) -> u64 {
    // 44 bits reach to the year 2527.
    millis_since_epoch(at) & (u64::MAX >> PER_MILLISECOND_BITS)
}

/// Gives `at` as [`rfc3339`] does to `with`. A thread writes the text of one millisecond once.
pub fn with_rfc3339<T>(at: SystemTime, with: impl FnOnce(&str) -> T) -> T {
    thread_local! {
        static LAST: RefCell<Option<(u64, String)>> = const { RefCell::new(None) };
    }
    let ms = millis(at);
    LAST.with(|last| {
        let mut last = last.borrow_mut();
        if last.as_ref().is_none_or(|(known, _)| *known != ms) {
            *last = Some((ms, rfc3339(at)));
        }
        with(last.as_ref().map_or("", |(_, text)| text))
    })
}

/// RFC 3339 in UTC with milliseconds, as in every timestamp of the protocol.
#[must_use]
pub fn rfc3339(at: SystemTime) -> String {
    let form = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::from(at).format(form).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Arc, time::Duration};

    use super::*;

    #[test]
    fn timestamps_have_milliseconds() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_micros(1_732_356_000_123_456);
        assert_eq!(rfc3339(at), "2024-11-23T10:00:00.123Z");
        assert_eq!(rfc3339(SystemTime::UNIX_EPOCH), "1970-01-01T00:00:00.000Z");
        for (later, text) in [(0, ".123Z"), (500, ".123Z"), (600, ".124Z"), (0, ".123Z")] {
            let at = at + Duration::from_micros(later);
            assert_eq!(with_rfc3339(at, str::to_owned), rfc3339(at));
            assert!(with_rfc3339(at, |found| found.ends_with(text)), "{text}");
        }
    }

    #[test]
    fn ids_rise_and_carry_the_time() {
        let ids = MessageIds::default();
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_732_356_000_123);
        let first = ids.next(now);
        assert_eq!(first.timestamp_ms(), 1_732_356_000_123);
        let mut last = first;
        for back in 0..3000 {
            let next = ids.next(now - Duration::from_millis(back));
            assert!(next > last && next.timestamp_ms() == first.timestamp_ms());
            last = next;
        }
        assert_eq!(ids.next(now + Duration::from_secs(1)).timestamp_ms(), 1_732_356_001_123);
        let other = MessageIds::default().next(now);
        assert_ne!(other, first, "another node at the same time");
    }

    #[test]
    fn a_millisecond_that_is_full_goes_on_in_the_next() {
        let ids = MessageIds::default();
        ids.next(SystemTime::UNIX_EPOCH + Duration::from_millis(7));
        ids.last.fetch_or((1 << PER_MILLISECOND_BITS) - 1, Ordering::Relaxed);
        let next = ids.next(SystemTime::UNIX_EPOCH + Duration::from_millis(7));
        assert_eq!(next.timestamp_ms(), 8);
    }

    #[test]
    fn no_two_threads_get_one_id_and_each_sees_them_rise() {
        let ids = Arc::new(MessageIds::default());
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let ids = Arc::clone(&ids);
                std::thread::spawn(move || {
                    let made: Vec<_> = (0..5000).map(|_| ids.next(SystemTime::now())).collect();
                    assert!(made.is_sorted());
                    made
                })
            })
            .collect();
        let all: BTreeSet<Ulid> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(all.len(), 20_000);
    }
}
