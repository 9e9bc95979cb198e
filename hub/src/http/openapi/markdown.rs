//! The description of the API for readers: a table of the calls, each call with its parameters and answers, and each
//! object with its fields.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::document::document;

/// The reference in Markdown, made of what `GET /openapi.json` answers.
#[must_use]
pub fn markdown() -> String {
    let document: Value = serde_json::from_str(&document()).unwrap_or_default();
    let mut text = format!("{}\n", words(&document["info"], "description"));
    text.push_str("\n## Calls\n\n| call | key | what it does |\n|---|---|---|\n");
    let calls = calls(&document);
    for (name, call) in &calls {
        let _ =
            writeln!(text, "| [`{name}`](#{}) | {} | {} |", anchor(name), key(call), cell(call, "summary"));
    }
    for (name, call) in &calls {
        describe(&mut text, name, call);
    }
    text.push_str("\n## Objects\n");
    for (name, schema) in entries(&document["components"]["schemas"]) {
        object(&mut text, name, schema);
    }
    text
}

fn calls(document: &Value) -> Vec<(String, &Value)> {
    let paths = entries(&document["paths"]);
    let of_path = |(path, methods)| {
        let named = move |(method, call): (&String, _)| (format!("{} {path}", method.to_uppercase()), call);
        entries(methods).map(named)
    };
    paths.flat_map(of_path).collect()
}

fn describe(text: &mut String, name: &str, call: &Value) {
    let _ = writeln!(text, "\n### {name}\n\n{}.", words(call, "summary"));
    for part in [words(call, "description"), parameters(call), body(call)] {
        if !part.is_empty() {
            let _ = writeln!(text, "\n{part}");
        }
    }
    text.push_str("\n| status | meaning | body |\n|---|---|---|\n");
    for (status, answer) in entries(&call["responses"]) {
        let _ = writeln!(text, "| {status} | {} | {} |", cell(answer, "description"), content(answer));
    }
}

fn parameters(call: &Value) -> String {
    let list = call["parameters"].as_array().into_iter().flatten();
    let lines: Vec<String> = list
        .map(|parameter| {
            let (name, place) = (words(parameter, "name"), words(parameter, "in"));
            let about = words(parameter, "description");
            let about = if about.is_empty() { String::new() } else { format!(": {about}") };
            format!("- `{name}` ({place}, {}){about}", kind(&parameter["schema"]))
        })
        .collect();
    lines.join("\n")
}

fn body(call: &Value) -> String {
    match call["requestBody"].is_object() {
        true => format!("Body: {}.", content(&call["requestBody"])),
        false => String::new(),
    }
}

/// What an answer or a body holds: its objects, or its media type. Problems are the same everywhere, but for the code.
fn content(holder: &Value) -> String {
    let of_type = |(media, content): (&String, &Value)| {
        let schema = &content["schema"];
        match schema.pointer("/allOf/1/properties/code/enum").and_then(Value::as_array) {
            Some(codes) => {
                let codes: Vec<_> =
                    codes.iter().filter_map(Value::as_str).map(|code| format!("`{code}`")).collect();
                format!("[Problem](#problem) {}", codes.join(" "))
            }
            None if media == "application/json" => kind(schema),
            None => format!("`{media}`"),
        }
    };
    entries(&holder["content"]).map(of_type).collect::<Vec<_>>().join(", ")
}

fn object(text: &mut String, name: &str, schema: &Value) {
    let _ = writeln!(text, "\n### {name}\n");
    let about = words(schema, "description");
    if !about.is_empty() {
        let _ = writeln!(text, "{about}\n");
    }
    let Some(properties) = schema["properties"].as_object() else {
        let _ = writeln!(text, "{}", kind(schema));
        return;
    };
    text.push_str("| field | type | meaning |\n|---|---|---|\n");
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (field, schema) in properties {
        let needed = if required.contains(&field.as_str()) { "" } else { ", optional" };
        let of_alternative = || cell(schema.pointer("/oneOf/0").unwrap_or(&Value::Null), "description");
        let about = Some(cell(schema, "description"))
            .filter(|about| !about.is_empty())
            .unwrap_or_else(of_alternative);
        let _ = writeln!(text, "| `{field}` | {}{needed} | {about} |", kind(schema));
    }
}

/// Says a bound in words.
type Wording = fn(&Value) -> String;

/// The type in words, with its bounds.
fn kind(schema: &Value) -> String {
    if let Some(target) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return format!("[{target}](#{})", target.to_lowercase());
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let choices = choices.iter().filter(|choice| choice["type"] != "null");
        return choices.map(kind).collect::<Vec<_>>().join(" or ");
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(" ");
    }
    let word = match &schema["type"] {
        Value::String(word) => word.as_str(),
        Value::Array(words) => {
            words.iter().filter_map(Value::as_str).find(|word| *word != "null").unwrap_or("null")
        }
        _ => "any",
    };
    let mut text = match word {
        "array" => format!("list of {}", kind(&schema["items"])),
        _ => word.to_owned(),
    };
    let bounds: [(&str, Wording); 7] = [
        ("minimum", |value| format!("at least {value}")),
        ("maximum", |value| format!("at most {value}")),
        ("minLength", |value| format!("at least {value} characters")),
        ("maxLength", |value| format!("at most {value} characters")),
        ("maxItems", |value| format!("at most {value}")),
        ("pattern", |value| format!("`{}`", value.as_str().unwrap_or_default().replace('|', "\\|"))),
        ("default", |value| format!("default `{value}`")),
    ];
    for (name, say) in bounds {
        // Every count is at least 0.
        if let Some(value) = schema.get(name).filter(|value| **value != 0) {
            let _ = write!(text, ", {}", say(value));
        }
    }
    text
}

fn key(call: &Value) -> String {
    let scopes = call["security"].as_array().into_iter().flatten().filter_map(|one| one["api_key"].get(0));
    let scopes: Vec<&str> = scopes.filter_map(Value::as_str).collect();
    if scopes.is_empty() { "none".to_owned() } else { scopes.join(", ") }
}

/// As GitHub makes them of headings.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_ascii_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

fn entries(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flat_map(Map::iter)
}

fn words(object: &Value, field: &str) -> String {
    object[field].as_str().unwrap_or_default().trim_end_matches('.').to_owned()
}

fn cell(object: &Value, field: &str) -> String {
    words(object, field).replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_and_object_is_told_and_every_link_leads_somewhere() {
        let text = markdown();
        let document: Value = serde_json::from_str(&document()).unwrap();
        for (name, _) in calls(&document) {
            assert!(text.contains(&format!("\n### {name}\n")), "{name}");
        }
        let anchors: Vec<String> =
            text.lines().filter_map(|line| line.strip_prefix("### ")).map(anchor).collect();
        let mut links = 0;
        for link in text.split("](#").skip(1).filter_map(|rest| rest.split(')').next()) {
            assert!(anchors.iter().any(|anchor| anchor == link), "{link} leads nowhere");
            links += 1;
        }
        assert!(links > 100, "{links} links");
        for part in
            ["| [`POST /v1/users/{user}/messages`](#post-v1usersusermessages) | api |", "### SendResult"]
        {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }

    #[test]
    fn types_are_told_with_their_bounds() {
        let cases = [
            (
                serde_json::json!({"type": ["integer", "null"], "minimum": 1, "maximum": 5}),
                "integer, at least 1, at most 5",
            ),
            (serde_json::json!({"type": "integer", "minimum": 0}), "integer"),
            (
                serde_json::json!({"type": "array", "items": {"$ref": "#/x/Node"}, "maxItems": 3}),
                "list of [Node](#node), at most 3",
            ),
            (serde_json::json!({"oneOf": [{"$ref": "#/x/Node"}, {"type": "null"}]}), "[Node](#node)"),
            (serde_json::json!({"type": "string", "enum": ["a", "b"]}), "`\"a\"` `\"b\"`"),
            (serde_json::json!({}), "any"),
        ];
        for (schema, told) in cases {
            assert_eq!(kind(&schema), told, "{schema}");
        }
    }
}
