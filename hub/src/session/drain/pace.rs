//! How many connections a drain closes when. Pure: the time is passed in.

use std::time::Duration;

/// What the last connections may take to end once they were asked to: a client that reads nothing is waited for 2 s, and
/// for its answer to the close frame another 2 s.
const PARTING: Duration = Duration::from_secs(4);
/// Of a short time the parting takes at most one in so many parts.
const PARTING_SHARE: u32 = 4;
/// What was not closed in time, because the machine was busy, is made up for at most by the closes of this time at once.
const MOST_OWED: f64 = 1.0;

/// How a drain is to go. Times count from its start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    /// Until then clients are still taken and none is sent away.
    pub settle: Duration,
    /// Connections per second at least; infinite for all at once.
    pub rate: f64,
    /// When the last connection is to be gone; none for whenever that is.
    pub deadline: Option<Duration>,
}

impl Plan {
    /// When the last connection is to have been asked to end.
    fn last_close(&self) -> Option<Duration> {
        let deadline = self.deadline?;
        Some(deadline - PARTING.min(deadline / PARTING_SHARE))
    }

    /// When closing begins: after `settle`, but in the first half of the time there is.
    #[must_use]
    pub fn settled_at(&self) -> Duration {
        self.last_close().map_or(self.settle, |last| self.settle.min(last / 2))
    }

    /// Connections per second at `now` when so many are open: the wanted rate, or what the deadline needs if that is
    /// more. 0 while it settles, infinite when the time is over.
    #[must_use]
    pub fn rate(&self, now: Duration, open: usize) -> f64 {
        if now < self.settled_at() {
            return 0.0;
        }
        let Some(last) = self.last_close() else { return self.rate };
        let left = last.saturating_sub(now).as_secs_f64();
        // A number of connections is far below what a double holds exactly.
        #[expect(clippy::cast_precision_loss, reason = "see above")]
        let needed = if left > 0.0 { open as f64 / left } else { f64::INFINITY };
        self.rate.max(needed)
    }
}

/// Turns a rate into numbers of connections, one moment after the other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pacer {
    at: Duration,
    owed: f64,
}

impl Pacer {
    /// Begins at `now`: the first connection is due at once.
    #[must_use]
    pub fn starting(now: Duration) -> Self {
        Self { at: now, owed: 1.0 }
    }

    /// How many of the `open` connections are due at `now` under `rate`, which held since the last call. They count as
    /// closed.
    pub fn due(&mut self, now: Duration, rate: f64, open: usize) -> usize {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.at = self.at.max(now);
        if rate.is_infinite() {
            self.owed = 0.0;
            return open;
        }
        self.owed = (self.owed + rate * passed).min((rate * MOST_OWED).max(1.0));
        // Not negative, and at most some thousands.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
        let due = (self.owed as usize).min(open);
        #[expect(clippy::cast_precision_loss, reason = "see above")]
        let closed = due as f64;
        self.owed -= closed;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(20);

    fn secs(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn plan(settle: f64, rate: f64, deadline: Option<f64>) -> Plan {
        Plan { settle: secs(settle), rate, deadline: deadline.map(secs) }
    }

    /// When each connection is closed by a worker that looks every so often.
    fn closes(plan: Plan, connections: usize, tick: impl Fn(usize) -> Duration) -> Vec<Duration> {
        let (mut now, mut open, mut closed) = (Duration::ZERO, connections, Vec::new());
        let mut pacer: Option<Pacer> = None;
        for n in 0.. {
            assert!(n < 5_000_000, "{plan:?} never ends");
            if now >= plan.settled_at() {
                let rate = plan.rate(now, open);
                let due = pacer.get_or_insert_with(|| Pacer::starting(now)).due(now, rate, open);
                closed.extend(std::iter::repeat_n(now, due));
                open -= due;
                if open == 0 {
                    break;
                }
            }
            now += tick(n);
        }
        closed
    }

    #[test]
    fn the_rate_is_the_wanted_one_unless_the_deadline_needs_more() {
        let inf = f64::INFINITY;
        let cases = [
            // settle, rate, deadline, now, open, expected
            (5.0, 200.0, None, 0.0, 1000, 0.0),
            (5.0, 200.0, None, 4.999, 1000, 0.0),
            (5.0, 200.0, None, 5.0, 1000, 200.0),
            (5.0, 200.0, None, 500.0, 1_000_000, 200.0),
            // 100 s, 4 of them for the last ones to part.
            (5.0, 200.0, Some(100.0), 5.0, 9100, 200.0),
            (5.0, 100.0, Some(100.0), 5.0, 18_200, 200.0),
            (5.0, 100.0, Some(100.0), 95.0, 1000, 1000.0),
            (5.0, 100.0, Some(100.0), 96.0, 1, inf),
            (5.0, 100.0, Some(100.0), 200.0, 1, inf),
            // Settling takes at most half of the time there is: 8 s, 2 of them for parting.
            (5.0, 10.0, Some(8.0), 2.999, 10, 0.0),
            (5.0, 10.0, Some(8.0), 3.0, 300, 100.0),
            (0.0, 10.0, Some(0.0), 0.0, 5, inf),
            (0.0, inf, None, 0.0, 5, inf),
        ];
        for (settle, rate, deadline, now, open, expected) in cases {
            let plan = plan(settle, rate, deadline);
            let found = plan.rate(secs(now), open);
            assert!(found == expected || (found - expected).abs() < 1e-6, "{plan:?} {now} {open}: {found}");
        }
    }

    #[test]
    fn connections_are_closed_evenly() {
        let closed = closes(plan(1.0, 500.0, None), 5000, |_| TICK);
        assert_eq!(closed.len(), 5000);
        for second in 1..10 {
            let of_second = closed.iter().filter(|at| at.as_secs() == second).count();
            assert!((490..=511).contains(&of_second), "{of_second} in second {second}");
        }
        let one_a_second: Vec<_> = closes(plan(0.0, 1.0, None), 3, |_| TICK);
        assert_eq!(one_a_second, [secs(0.0), secs(1.0), secs(2.0)]);
    }

    #[test]
    fn a_busy_machine_does_not_make_up_for_more_than_a_second() {
        let closed = closes(plan(0.0, 100.0, None), 1000, |n| if n == 10 { secs(5.0) } else { TICK });
        let at_once = closed.iter().filter(|at| **at == closed[25]).count();
        assert!((99..=101).contains(&at_once), "{at_once}");
        assert_eq!(closed.len(), 1000);
    }

    /// For any plan: nobody is closed while it settles, never more than the rate and a second's arrears allow in any second, each connection
    /// once, and all were asked before the deadline.
    #[test]
    fn any_plan_is_kept() {
        let mut seed = 0x2545_F491_4F6C_DD1D_u64;
        let mut random = |most: u64| {
            // xorshift64 (Marsaglia 2003)
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % (most + 1)
        };
        for _ in 0..500 {
            let deadline = (random(3) > 0).then(|| Duration::from_millis(random(60_000)));
            let plan = Plan {
                settle: Duration::from_millis(random(8_000)),
                rate: f64::from(u32::try_from(1 + random(1000)).unwrap()),
                deadline,
            };
            let connections = usize::try_from(1 + random(3000)).unwrap();
            let ticks: Vec<_> = (0..64).map(|_| Duration::from_millis(5 + random(50))).collect();
            let closed = closes(plan, connections, |n| ticks[n % ticks.len()]);
            assert_eq!(closed.len(), connections, "{plan:?}");
            assert!(closed.is_sorted() && closed[0] >= plan.settled_at(), "{plan:?}");
            let last = closed[connections - 1];
            match deadline {
                Some(deadline) => {
                    let longest =
                        deadline - PARTING.min(deadline / PARTING_SHARE) + Duration::from_millis(55);
                    assert!(last <= longest, "{plan:?}: {last:?}");
                }
                None => {
                    let busiest = closed
                        .iter()
                        .enumerate()
                        .map(|(n, at)| closed[n..].partition_point(|other| *other < *at + secs(1.0)))
                        .max();
                    #[expect(clippy::cast_precision_loss, reason = "small")]
                    let busiest = busiest.unwrap() as f64;
                    assert!(busiest <= plan.rate * 1.06 + 2.0, "{plan:?}: {busiest}");
                }
            }
        }
    }
}
