//! JSON text that is passed on as it was written.

/// Whether a valid JSON text names half of a surrogate pair (`\ud800` without its partner). The grammar of JSON lets
/// it pass, but no Unicode string can hold it: many parsers refuse the whole text, so it must not be passed on.
pub(super) fn has_lone_surrogate(text: &str) -> bool {
    let mut rest = text;
    let mut wants_low = false;
    // In valid JSON a backslash stands only inside a string, before one character or before `u` and four digits.
    while let Some(at) = rest.find('\\') {
        let escape = rest.get(at + 1..).unwrap_or_default();
        let unit = escape
            .strip_prefix('u')
            .and_then(|digits| digits.get(..4))
            .and_then(|digits| u16::from_str_radix(digits, 16).ok());
        let is_low = matches!(unit, Some(0xDC00..=0xDFFF));
        // The second half stands right behind the first and nowhere else.
        if is_low != wants_low || (is_low && at != 0) {
            return true;
        }
        wants_low = matches!(unit, Some(0xD800..=0xDBFF));
        let length = if unit.is_some() { 5 } else { 1 };
        rest = escape.get(length..).unwrap_or_default();
    }
    wants_low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_pairs_pass() {
        for good in [
            r#""""#,
            r#""plain 😀""#,
            r#""\ud83d\ude00""#,
            r#""\uD83D\uDE00\ud83d\ude00 \n""#,
            r#""\\ud800""#,
            r#""\\\\ud800""#,
            r#""\u0000\ue000\ud7ff""#,
            r#"{"a\n":["\ud83d\ude00",1]}"#,
        ] {
            assert!(serde_json::from_str::<serde_json::Value>(good).is_ok(), "{good} is a good case");
            assert!(!has_lone_surrogate(good), "{good}");
        }
        for bad in [
            r#""\ud800""#,
            r#""\uDBFFx""#,
            r#""\udc00""#,
            r#""\ude00\ud83d""#,
            r#""\ud83d \ude00""#,
            r#""\ud83d\n""#,
            r#""\ud83d\ud83d\ude00""#,
            r#""\ud83d\ude00\ude00""#,
            r#""\\\ud800""#,
            r#"["\ud83d","\ude00"]"#,
            r#"{"\ud800":1}"#,
        ] {
            assert!(serde_json::from_str::<serde_json::Value>(bad).is_err(), "{bad} is a bad case");
            assert!(has_lone_surrogate(bad), "{bad}");
        }
    }
}
