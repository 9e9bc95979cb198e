//! How clients are sent away, unless the one who asks for it says otherwise. All of it may change while the hub runs.

use std::time::Duration;

use super::{duration::parse_duration, limits::whole_number};
use crate::protocol::drain_request::FASTEST;

/// How clients are sent away. A change holds for what is decided after it, in a drain that runs too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainSettings {
    /// After the start of a drain new clients are still taken for this long: until load balancers have noticed.
    pub settle: Duration,
    /// Connections closed per second.
    pub rate_per_second: u32,
    /// Clients are told to come back after a random time up to this.
    pub retry_after_max: Duration,
}

impl Default for DrainSettings {
    fn default() -> Self {
        Self { settle: Duration::from_secs(5), rate_per_second: 200, retry_after_max: Duration::from_secs(1) }
    }
}

/// One of them.
pub(super) struct DrainField {
    pub(super) variable: &'static str,
    /// Its name below `drain` in the file of hot settings.
    pub(super) key: &'static str,
    /// # Errors
    /// A sentence with the range.
    pub(super) read: fn(&mut DrainSettings, &str) -> Result<(), String>,
}

/// All of them, in the order of the catalogue.
pub(super) const DRAIN_FIELDS: &[DrainField] = &[
    DrainField {
        variable: "WSC_DRAIN_SETTLE",
        key: "settle",
        read: |drain, text| between(text, "0s", "5m").map(|settle| drain.settle = settle),
    },
    DrainField {
        variable: "WSC_DRAIN_RATE",
        key: "rate_per_second",
        read: |drain, text| {
            let rate = whole_number(text, 1, FASTEST)?;
            drain.rate_per_second = u32::try_from(rate).unwrap_or(u32::MAX);
            Ok(())
        },
    },
    DrainField {
        variable: "WSC_RETRY_AFTER_MAX",
        key: "retry_after_max",
        read: |drain, text| between(text, "0s", "1m").map(|most| drain.retry_after_max = most),
    },
];

fn between(text: &str, least: &str, most: &str) -> Result<Duration, String> {
    let known = |text| parse_duration(text).unwrap_or_default();
    match parse_duration(text)? {
        found if (known(least)..=known(most)).contains(&found) => Ok(found),
        _ => Err(format!("expected a duration from {least} to {most}, found {text:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_is_read_within_its_range() {
        let cases =
            [("settle", "300ms", "301s"), ("rate_per_second", "7", "0"), ("retry_after_max", "0s", "61s")];
        let mut drain = DrainSettings::default();
        for (key, good, bad) in cases {
            let field = DRAIN_FIELDS.iter().find(|field| field.key == key).unwrap();
            (field.read)(&mut drain, good).unwrap();
            let read = drain;
            assert!((field.read)(&mut drain, bad).is_err(), "{key}");
            assert_eq!(drain, read, "{key}");
        }
        let expected = DrainSettings {
            settle: Duration::from_millis(300),
            rate_per_second: 7,
            retry_after_max: Duration::ZERO,
        };
        assert_eq!((drain, DRAIN_FIELDS.len()), (expected, 3));
    }
}
