//! Whole numbers in bodies, however JSON writes them.

use std::fmt;

use serde::{Deserialize, Deserializer, de};

/// Beyond this a number with a fraction part may stand for its neighbour (2^53).
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A whole number that is not negative. `5.0` and `5e0` are one too: to JSON, and to JSON Schema's `integer`, they are
/// the same number as `5`, and some languages know no other way to write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WholeNumber(pub u64);

impl<'de> Deserialize<'de> for WholeNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = WholeNumber;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<WholeNumber, E> {
                Ok(WholeNumber(number))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<WholeNumber, E> {
                u64::try_from(number).map(WholeNumber).map_err(E::custom)
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<WholeNumber, E> {
                if number.fract() != 0.0 || !(0.0..=EXACT).contains(&number) {
                    return Err(E::custom("not a whole number"));
                }
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
                Ok(WholeNumber(number as u64))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_whole_by_its_value_not_by_its_writing() {
        let read = |text| serde_json::from_str::<WholeNumber>(text).ok().map(|WholeNumber(n)| n);
        for (text, number) in [
            ("0", 0),
            ("5", 5),
            ("5.0", 5),
            ("5e1", 50),
            ("1.5e1", 15),
            ("-0.0", 0),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(read(text), Some(number), "{text}");
        }
        for text in ["5.5", "-1", "-1.0", "1e300", "9007199254740994.0", "\"5\"", "null", "[5]", "true"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
