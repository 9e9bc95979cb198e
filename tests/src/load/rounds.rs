//! Rounds of a measurement, and what is said of them.

use std::time::Duration;

/// Processes whose time is kept apart.
pub const PARTS: usize = 3;

/// What one round came to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Round {
    /// Things done, such as frames parsed by clients.
    pub count: u64,
    /// Wall time.
    pub wall: Duration,
    /// The servers' time on a core, all together.
    pub server: Duration,
    /// The same of each.
    pub parts: [Duration; PARTS],
    /// The load generator's time on a core.
    pub load: Duration,
}

impl Round {
    /// Things done in a second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.count as f64 / self.wall.as_secs_f64()
    }

    /// Things done in a second of the server's core.
    #[must_use]
    pub fn per_core_second(&self) -> f64 {
        self.count as f64 / self.server.as_secs_f64().max(1e-9)
    }

    /// Seconds on a core that a process spent for a million things; `part`: which one.
    #[must_use]
    pub fn core_seconds_per_million(&self, part: usize) -> f64 {
        let time = self.parts.get(part).copied().unwrap_or_default();
        time.as_secs_f64() * 1e6 / (self.count as f64).max(1.0)
    }

    /// Part of the wall time in which the load generator was on its core.
    #[must_use]
    pub fn load_share(&self) -> f64 {
        self.load.as_secs_f64() / self.wall.as_secs_f64()
    }

    /// Part of the wall time in which the server was on its core.
    #[must_use]
    pub fn server_share(&self) -> f64 {
        self.server.as_secs_f64() / self.wall.as_secs_f64()
    }
}

/// The median of what `value` says of each round; 0 of none.
#[must_use]
pub fn median(rounds: &[Round], value: impl Fn(&Round) -> f64) -> f64 {
    let mut values: Vec<f64> = rounds.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// A line of a table.
#[must_use]
pub fn line(name: &str, rounds: &[Round]) -> String {
    let spread = |value: fn(&Round) -> f64| {
        let low = rounds.iter().map(value).fold(f64::INFINITY, f64::min);
        let high = rounds.iter().map(value).fold(0.0, f64::max);
        (low, high)
    };
    let (low, high) = spread(Round::per_second);
    format!(
        "| {name} | {:.0} | {low:.0}..{high:.0} | {:.0} | {:.0} % | {:.0} % | {} |",
        median(rounds, Round::per_second),
        median(rounds, Round::per_core_second),
        100.0 * median(rounds, Round::server_share),
        100.0 * median(rounds, Round::load_share),
        rounds.iter().map(|round| round.count).sum::<u64>(),
    )
}

/// The head of a table of [`line`]s.
pub const HEAD: &str = "| what | per second, median | lowest..highest | per second of server core | server on its core | generator on its core | counted |\n|---|---|---|---|---|---|---|";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        let round = |count| Round { count, wall: Duration::from_secs(2), ..Round::default() };
        let rounds = [round(10), round(1000), round(20)];
        assert!((median(&rounds, Round::per_second) - 10.0).abs() < 1e-9);
        assert!(median(&[], Round::per_second).abs() < 1e-9);
    }
}
