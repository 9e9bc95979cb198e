//! Bounds of a node and of each connection. All of them may change while the hub runs.

use crate::local::outbound_queue::QueueLimits;

/// What the hub's own fields can add to a message, in bytes: ids of at most 128 characters each, and a time.
const FRAME_OVERHEAD: usize = 1024;
/// Share of the memory limit that queues may take unless told otherwise: one in so many.
const QUEUE_SHARE: u64 = 4;
/// Least memory for queues.
const LEAST_QUEUE_MEMORY: u64 = 1 << 20;

/// Bounds of a node and of each connection. How a change acts: at once, but for `max_message_bytes` and `queue`, which
/// hold for connections opened after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest client message in bytes.
    pub max_message_bytes: usize,
    /// What may wait for one client.
    pub queue: QueueLimits,
    /// Bytes that may wait for all clients of the node together.
    pub queue_memory: usize,
    /// Frames per second from one client; bursts of twice that.
    pub client_rate: u32,
    /// Messages of one client being sent at the same time.
    pub client_in_flight: usize,
    /// Connections from one address; 0 for no limit.
    pub max_connections_per_address: usize,
    /// Sockets that the client listener accepts per second.
    pub accept_rate: u32,
}

impl Limits {
    /// The defaults on a machine or in a container with this much memory.
    #[must_use]
    pub fn of_memory(bytes: u64) -> Self {
        let queue_memory = (bytes / QUEUE_SHARE).max(LEAST_QUEUE_MEMORY);
        Self {
            max_message_bytes: 65_536,
            queue: QueueLimits { bytes: 262_144, messages: 1024 },
            queue_memory: usize::try_from(queue_memory).unwrap_or(usize::MAX),
            client_rate: 50,
            client_in_flight: 64,
            max_connections_per_address: 0,
            accept_rate: 2000,
        }
    }

    /// What the bounds say about each other that cannot be: the variable, and a sentence.
    pub(super) fn contradictions(&self) -> Vec<(&'static str, String)> {
        let least = self.max_message_bytes.saturating_add(FRAME_OVERHEAD);
        let mut found = Vec::new();
        for (variable, bytes) in
            [("WSC_OUTBOUND_QUEUE_BYTES", self.queue.bytes), ("WSC_QUEUE_MEMORY", self.queue_memory)]
        {
            if bytes < least {
                let what =
                    format!("{bytes} cannot hold one message of WSC_MAX_MESSAGE_BYTES, needed are {least}");
                found.push((variable, what));
            }
        }
        found
    }
}

/// A bound that is a whole number.
pub(super) struct Bound {
    pub(super) variable: &'static str,
    pub(super) least: u64,
    pub(super) most: u64,
    /// `number` lies within `least` and `most`.
    pub(super) put: fn(&mut Limits, number: usize),
}

impl Bound {
    /// Its name below `limits` in the file of hot settings: the variable's, in small letters and without `WSC_`.
    pub(super) fn key(&self) -> String {
        self.variable.trim_start_matches("WSC_").to_ascii_lowercase()
    }

    /// # Errors
    /// A sentence with the range.
    pub(super) fn read(&self, text: &str, limits: &mut Limits) -> Result<(), String> {
        let number = whole_number(text, self.least, self.most)?;
        (self.put)(limits, usize::try_from(number).unwrap_or(usize::MAX));
        Ok(())
    }
}

/// # Errors
/// A sentence with the range.
pub(super) fn whole_number(text: &str, least: u64, most: u64) -> Result<u64, String> {
    match text.parse() {
        Ok(n) if (least..=most).contains(&n) => Ok(n),
        _ => Err(format!("expected a whole number from {least} to {most}, found {text:?}")),
    }
}

const fn bound(variable: &'static str, least: u64, most: u64, put: fn(&mut Limits, usize)) -> Bound {
    Bound { variable, least, most, put }
}

/// Every bound, in the order of the catalogue.
pub(super) const BOUNDS: &[Bound] = &[
    bound("WSC_MAX_MESSAGE_BYTES", 128, 1 << 24, |l, n| l.max_message_bytes = n),
    bound("WSC_OUTBOUND_QUEUE_BYTES", 1024, 1 << 30, |l, n| l.queue.bytes = n),
    bound("WSC_MESSAGE_BUFFER_SIZE", 1, 1_000_000, |l, n| l.queue.messages = n),
    bound("WSC_QUEUE_MEMORY", LEAST_QUEUE_MEMORY, 1 << 40, |l, n| l.queue_memory = n),
    bound("WSC_CLIENT_RATE", 1, 100_000, |l, n| l.client_rate = u32::try_from(n).unwrap_or(u32::MAX)),
    bound("WSC_CLIENT_IN_FLIGHT", 1, 10_000, |l, n| l.client_in_flight = n),
    bound("WSC_MAX_CONNECTIONS_PER_ADDRESS", 0, 1_000_000, |l, n| l.max_connections_per_address = n),
    bound("WSC_ACCEPT_RATE", 1, 1_000_000, |l, n| l.accept_rate = u32::try_from(n).unwrap_or(u32::MAX)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_take_a_quarter_of_the_memory_unless_told_otherwise() {
        for (memory, queues) in [(1 << 30, 1 << 28), (0, 1 << 20), (u64::MAX, usize::MAX / 4)] {
            assert_eq!(Limits::of_memory(memory).queue_memory, queues, "{memory}");
        }
        assert!(Limits::of_memory(0).contradictions().is_empty());
    }

    #[test]
    fn each_bound_is_put_where_it_belongs() {
        let mut limits = Limits::of_memory(1 << 30);
        for (number, bound) in BOUNDS.iter().enumerate() {
            let least = bound.least;
            bound.read(&(least + 1 + number as u64).to_string(), &mut limits).unwrap();
            assert!(bound.read(&(bound.most + 1).to_string(), &mut limits).is_err(), "{}", bound.variable);
        }
        let expected = Limits {
            max_message_bytes: 129,
            queue: QueueLimits { bytes: 1026, messages: 4 },
            queue_memory: (1 << 20) + 4,
            client_rate: 6,
            client_in_flight: 7,
            max_connections_per_address: 7,
            accept_rate: 9,
        };
        assert_eq!(limits, expected);
        assert_eq!(BOUNDS[0].key(), "max_message_bytes");
    }

    #[test]
    fn a_queue_holds_a_message() {
        let mut limits = Limits::of_memory(1 << 30);
        limits.queue.bytes = limits.max_message_bytes;
        limits.queue_memory = 1 << 16;
        let variables: Vec<_> = limits.contradictions().into_iter().map(|(variable, _)| variable).collect();
        assert_eq!(variables, ["WSC_OUTBOUND_QUEUE_BYTES", "WSC_QUEUE_MEMORY"]);
    }
}
