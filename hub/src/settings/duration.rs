//! Durations as people write them.

use std::time::Duration;

/// Reads one or more numbers with units, such as `10s`, `250ms`, `1h30m`: the form that Kubernetes uses, with the
/// units `ms`, `s`, `m`, `h`.
///
/// # Errors
/// A sentence that says what is expected.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let refuse = || format!("expected a duration like 10s, 250ms or 1h30m, found {text:?}");
    let mut rest = text;
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(refuse());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().map_err(|_| refuse())?;
        rest = &rest[digits..];
        let (unit_ms, length) = match rest.as_bytes() {
            [b'm', b's', ..] => (1, 2),
            [b's', ..] => (1_000, 1),
            [b'm', ..] => (60_000, 1),
            [b'h', ..] => (3_600_000, 1),
            _ => return Err(refuse()),
        };
        let part = number.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(refuse)?;
        total = total.checked_add(part).ok_or_else(refuse)?;
        rest = &rest[length..];
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_kubernetes_writes_them() {
        let good = [("10s", 10_000), ("250ms", 250), ("1h30m", 5_400_000), ("0s", 0), ("1m1ms", 60_001)];
        for (text, ms) in good {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for bad in ["", "10", "s", "10 s", "-1s", "1.5s", "10d", "99999999999999999999s", "10sx"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
