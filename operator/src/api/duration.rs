//! Durations as users write them: `500ms`, `10s`, `1h30m`.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Pattern of a duration in the schema; each part is a whole number and a unit.
pub const PATTERN: &str = "^([0-9]+(ms|s|m|h))+$";
/// Longest accepted text, in characters. Bounds the cost of the CEL rules that read it.
pub const MAX_LENGTH: usize = 16;

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("'{0}' is not a duration: write whole numbers with ms, s, m or h, such as 500ms, 10s or 1h30m")]
pub struct DurationError(String);

/// A duration that keeps the text it was written as, so that defaults and read-backs look like the input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpecDuration {
    text: String,
    value: Duration,
}

impl SpecDuration {
    /// A whole number of seconds, written as `<n>s`.
    pub fn from_secs(seconds: u64) -> Self {
        Self { text: format!("{seconds}s"), value: Duration::from_secs(seconds) }
    }

    /// A whole number of minutes, written as `<n>m`.
    pub fn from_minutes(minutes: u64) -> Self {
        Self { text: format!("{minutes}m"), value: Duration::from_secs(minutes.saturating_mul(60)) }
    }

    /// A whole number of hours, written as `<n>h`.
    pub fn from_hours(hours: u64) -> Self {
        Self { text: format!("{hours}h"), value: Duration::from_secs(hours * 3600) }
    }

    /// The length of time.
    pub fn get(&self) -> Duration {
        self.value
    }

    /// The length of time in one unit, `<n>s` or `<n>ms`: what the hub reads from its environment.
    pub fn single_unit(&self) -> String {
        single_unit(self.value)
    }
}

/// `<n>s` when whole seconds, else `<n>ms`; anything finer is cut off.
pub fn single_unit(value: Duration) -> String {
    if value.subsec_millis() == 0 {
        format!("{}s", value.as_secs())
    } else {
        format!("{}ms", value.as_millis())
    }
}

impl fmt::Display for SpecDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<SpecDuration> for String {
    fn from(duration: SpecDuration) -> Self {
        duration.text
    }
}

impl TryFrom<String> for SpecDuration {
    type Error = DurationError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match parse(&text) {
            Some(value) => Ok(Self { text, value }),
            None => Err(DurationError(text)),
        }
    }
}

fn parse(text: &str) -> Option<Duration> {
    if text.is_empty() || text.len() > MAX_LENGTH {
        return None;
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let (unit_ms, unit_length) = match rest.as_bytes() {
            [b'm', b's', ..] => (1, 2),
            [b's', ..] => (1_000, 1),
            [b'm', ..] => (60_000, 1),
            [b'h', ..] => (3_600_000, 1),
            _ => return None,
        };
        total = total.checked_add(Duration::from_millis(number.checked_mul(unit_ms)?))?;
        rest = &rest[unit_length..];
    }
    Some(total)
}

impl JsonSchema for SpecDuration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": PATTERN, "maxLength": MAX_LENGTH })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_parse_as_written() {
        for (text, milliseconds) in [
            ("0s", 0),
            ("500ms", 500),
            ("10s", 10_000),
            ("2m", 120_000),
            ("1h30m", 5_400_000),
            ("1m500ms", 60_500),
            ("168h", 604_800_000),
        ] {
            let duration = SpecDuration::try_from(text.to_owned()).unwrap();
            assert_eq!(duration.get(), Duration::from_millis(milliseconds), "{text}");
            assert_eq!(duration.to_string(), text, "the text is kept");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_an_example() {
        for text in
            ["", "10", "s", "10 s", "-1s", "1.5s", "10d", "10us", "99999999999999h", "1s1s1s1s1s1s1s1s1s"]
        {
            let error = SpecDuration::try_from(text.to_owned()).unwrap_err().to_string();
            assert!(error.contains("such as 500ms"), "{text}: {error}");
        }
    }

    #[test]
    fn the_hub_gets_one_unit() {
        for (text, env) in [("2m", "120s"), ("1s500ms", "1500ms"), ("110s", "110s")] {
            assert_eq!(SpecDuration::try_from(text.to_owned()).unwrap().single_unit(), env);
        }
    }
}
