//! The body of `POST /v1/users/{user}/revoke`.

use serde::Deserialize as _;
use serde_json::{Map, Value};

use super::{error_code::ErrorCode, message::BadBody, whole_number::WholeNumber};

/// Reads `{before}`, milliseconds since the epoch; none for now. An empty body is one without fields.
///
/// # Errors
/// [`BadBody`] for anything else.
pub fn parse_revoke(body: &[u8]) -> Result<Option<u64>, BadBody> {
    let bad = |detail: String| BadBody { code: ErrorCode::BadRequest, detail };
    if body.is_empty() {
        return Ok(None);
    }
    let body: Map<String, Value> =
        serde_json::from_slice(body).map_err(|e| bad(format!("the body is not a JSON object: {e}")))?;
    match body.get("before") {
        None | Some(Value::Null) => Ok(None),
        // Beyond the year 9999 it is a mistake of units.
        Some(value) => match WholeNumber::deserialize(value) {
            Ok(WholeNumber(before)) if before <= 253_402_300_799_999 => Ok(Some(before)),
            _ => Err(bad(format!(
                "before must be a whole number of milliseconds since the epoch, found {value}"
            ))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_is_milliseconds_or_now() {
        assert_eq!(parse_revoke(b""), Ok(None));
        assert_eq!(parse_revoke(b"{}"), Ok(None));
        for text in ["1732356000000", "1732356000000.0"] {
            let body = format!("{{\"before\":{text}}}");
            assert_eq!(parse_revoke(body.as_bytes()), Ok(Some(1_732_356_000_000)));
        }
        for bad in ["[]", "{\"before\":-1}", "{\"before\":\"now\"}", "{\"before\":1e300}", "{"] {
            assert!(parse_revoke(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
