//! The description has every route and every option that the hub has, and no other.

use std::collections::BTreeSet;

use serde_json::Value;

use super::document::document;
use crate::protocol::message_batch::parse_send;

const ROUTES: &str = include_str!("../routes.rs");
const OPTIONS: &str = include_str!("../../protocol/message_batch.rs");
const METHODS: [&str; 5] = ["get", "post", "put", "delete", "patch"];

/// `get /path` for all that `source` routes; the text between two routes holds one route's methods.
fn routed(source: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for route in source.split(".route(").skip(1) {
        let (path, rest) = route.trim_start().trim_start_matches('"').split_once('"').unwrap();
        let rest = rest.split(';').next().unwrap();
        for method in METHODS {
            let called = |start: usize| !rest[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            if rest.match_indices(&format!("{method}(")).any(|(start, _)| called(start)) {
                found.insert(format!("{method} {path}"));
            }
        }
    }
    found
}

/// The body of a function, up to the brace in the first column.
fn function<'a>(source: &'a str, name: &str) -> &'a str {
    let from = source.find(&format!("fn {name}(")).unwrap_or_else(|| panic!("no fn {name} in routes.rs"));
    source[from..].split("\n}\n").next().unwrap()
}

fn described() -> Value {
    serde_json::from_str(&document()).unwrap()
}

#[test]
fn the_description_has_every_route_of_the_api_and_no_other() {
    let (own, both) = (function(ROUTES, "for_backends"), function(ROUTES, "finish"));
    for hidden in [".merge(", ".nest("] {
        assert!(!own.contains(hidden) && !both.contains(hidden), "this test cannot see what {hidden} adds");
    }
    let mut routes = routed(own);
    routes.extend(routed(both));
    let document = described();
    let mut documented = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        documented.extend(item.as_object().unwrap().keys().map(|method| format!("{method} {path}")));
    }
    let missing: Vec<_> = routes.difference(&documented).collect();
    assert!(
        missing.is_empty(),
        "routes that /openapi.json does not have: {missing:?}. Add a `Call` for each to http/openapi/calls.rs with its \
         parameters, body, answers and problems; derive `utoipa::ToSchema` for the type that it answers with, put the \
         form of what it reads into http/openapi/bodies.rs, then run `make generate`"
    );
    let foreign: Vec<_> = documented.difference(&routes).collect();
    assert!(foreign.is_empty(), "/openapi.json has what http/routes.rs has not: {foreign:?}");
}

#[test]
fn routes_are_found_however_they_are_written() {
    let source = r#"Router::new().route("/a", get(a::get)).route(
            "/b/{x}",
            put(budget).delete(b),
        )
        .route("/c", axum::routing::post(c)); get(nothing)"#;
    let found: Vec<_> = routed(source).into_iter().collect();
    assert_eq!(found, ["delete /b/{x}", "get /a", "post /c", "put /b/{x}"]);
}

/// The fields of a struct that is read from a body.
fn fields(name: &str) -> Vec<&'static str> {
    let from = OPTIONS.find(&format!("struct {name}<'a> {{")).unwrap();
    let body = OPTIONS[from..].split_once('{').unwrap().1.split("\n}").next().unwrap();
    let lines = body.lines().map(str::trim).filter(|line| !line.starts_with('#') && !line.starts_with('/'));
    lines.filter_map(|line| line.split_once(": ").map(|(field, _)| field)).collect()
}

#[test]
fn the_description_has_every_field_of_a_message_and_every_option() {
    let document = described();
    let has =
        |schema: &str, field: &str| !document["components"]["schemas"][schema]["properties"][field].is_null();
    for field in fields("Fields") {
        let somewhere =
            ["SendRequest", "BatchEntry", "BroadcastRequest"].iter().any(|schema| has(schema, field));
        assert!(somewhere, "{field} is in no body of http/openapi/bodies.rs");
    }
    assert!(fields("Options").len() >= 3);
    for field in fields("Options") {
        // Whatever it is to be, one of these it is, in one of these.
        let written = ["true", "5", "\"delivered\""].map(|value| format!("\"{field}\":{value}"));
        let reads = |options: &str| parse_send(format!("{{\"options\":{{{options}}}}}").as_bytes()).is_ok();
        let built = written
            .iter()
            .any(|option| reads(option) || (field != "store" && reads(&format!("\"store\":true,{option}"))));
        assert_eq!(
            has("StoreOptions", field),
            built,
            "options.{field}: StoreOptions in http/openapi/bodies.rs"
        );
        assert!(
            !built || has("LiveOptions", field),
            "options.{field}: LiveOptions in http/openapi/bodies.rs"
        );
    }
}

#[test]
fn every_reference_of_the_description_leads_somewhere_and_every_call_has_a_name() {
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let document = described();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 10, "{found:?}");
    for reference in found {
        assert!(document.pointer(&reference[1..]).is_some(), "{reference} leads nowhere");
    }
    let mut names = BTreeSet::new();
    for call in
        document["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values())
    {
        assert!(names.insert(call["operationId"].as_str().unwrap().to_owned()), "twice: {call}");
        for (status, response) in call["responses"].as_object().unwrap() {
            let problem = &response["content"]["application/problem+json"];
            assert!(!status.starts_with('4') || problem.is_object(), "{status} is no problem: {call}");
        }
    }
}
