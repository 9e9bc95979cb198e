//! When a node sent its clients away, as the clients heard it, and at which rate.

use std::{
    fmt::{self, Display},
    time::{Duration, Instant},
};

/// Of the first and of the last clients one in so many is left out of a rate: one that waits for something else would
/// change the time of all.
const LEFT_OUT: usize = 20;
/// How long rates are looked at for the slowest and the fastest moment.
const MOMENT: Duration = Duration::from_secs(2);

/// When the clients of one node heard that they are to go elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Farewells(Vec<Instant>);

impl Farewells {
    /// Takes the times in any order.
    #[must_use]
    pub fn at(mut times: Vec<Instant>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// How many were sent away.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// From the first to the last.
    #[must_use]
    pub fn took(&self) -> Duration {
        match (self.0.first(), self.0.last()) {
            (Some(first), Some(last)) => *last - *first,
            _ => Duration::ZERO,
        }
    }

    /// How many a second, over all but the very first and last; infinite when they went at once.
    #[must_use]
    pub fn rate(&self) -> f64 {
        let out = self.0.len() / LEFT_OUT;
        match &self.0[out..self.0.len() - out] {
            [first, .., last] => per_second(self.0.len() - 2 * out - 1, *last - *first),
            _ => 0.0,
        }
    }

    /// The lowest and the highest rate of any two seconds between the first and the last; none when it took less.
    #[must_use]
    pub fn extremes(&self) -> Option<(f64, f64)> {
        let last = *self.0.last()?;
        let moments = self.0.iter().enumerate().take_while(|(_, start)| **start + MOMENT <= last);
        let rates = moments.map(|(number, start)| {
            let until = self.0.partition_point(|time| *time <= *start + MOMENT);
            per_second(until - number - 1, MOMENT)
        });
        rates.fold(None, |found, rate| {
            let (least, most) = found.unwrap_or((rate, rate));
            Some((rate.min(least), rate.max(most)))
        })
    }
}

fn per_second(count: usize, time: Duration) -> f64 {
    // Far below what a double holds exactly.
    #[expect(clippy::cast_precision_loss, reason = "see above")]
    let count = count as f64;
    count / time.as_secs_f64()
}

impl Display for Farewells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {:.1?}, {:.1} a second", self.count(), self.took(), self.rate())?;
        match self.extremes() {
            Some((least, most)) => write!(f, " ({least:.1} to {most:.1} in any {MOMENT:?})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some at even distances, from a time.
    fn even(start: Instant, count: u32, distance: Duration) -> Vec<Instant> {
        (0..count).map(|number| start + distance * number).collect()
    }

    #[test]
    fn an_even_pace_has_one_rate_that_a_late_one_does_not_change() {
        let mut times = even(Instant::now(), 1000, Duration::from_millis(10));
        let last = times.pop().unwrap();
        times.insert(0, last + Duration::from_secs(10));
        let farewells = Farewells::at(times);
        assert_eq!(farewells.count(), 1000);
        assert!((farewells.rate() - 100.0).abs() < 0.01, "{farewells}");
    }

    #[test]
    fn a_pause_and_a_burst_are_seen() {
        let start = Instant::now();
        let mut times = even(start, 300, Duration::from_millis(10));
        times.extend(even(start + Duration::from_secs(5), 600, Duration::from_millis(5)));
        let (least, most) = Farewells::at(times).extremes().unwrap();
        assert!(least < 2.0 && most > 199.0, "{least} {most}");
    }

    #[test]
    fn few_have_no_rate() {
        let now = Instant::now();
        assert!(Farewells::at(vec![]).rate() < f64::EPSILON);
        assert!(Farewells::at(vec![now]).rate() < f64::EPSILON);
        assert_eq!(Farewells::at(even(now, 10, Duration::from_millis(10))).extremes(), None);
    }
}
