//! The house rules of the sources: who imports whom, what stays pure, how long files are, what they are called.

use anyhow::Result;
use wsc_tests::{
    source_rule::{
        ImportTable, MAX_LINES, MAX_MAIN_LINES, contents_violations, import_violations, length_violations,
        module_of, name_violations, note_violations, purity_violations, without_test_files,
    },
    source_tree::{self, SourceFile},
};

/// Leaves serve everything from routing to the right. They know the pure vocabulary, and logs are set up from settings.
const HUB: ImportTable = ImportTable {
    folder: "hub/src",
    rows: &[
        ("identity", &[]),
        ("protocol", &["identity"]),
        ("local", &["identity", "protocol"]),
        ("routing", &["identity", "protocol", "local"]),
        ("settings", &["identity", "protocol", "local"]),
        ("auth", &["identity", "protocol"]),
        ("observe", &["identity", "protocol", "settings"]),
        ("cluster", &["identity", "protocol", "local", "routing", "settings", "auth", "observe"]),
        ("session", &["identity", "protocol", "local", "routing", "settings", "auth", "observe"]),
        ("http", &["identity", "protocol", "local", "routing", "session", "settings", "auth", "observe"]),
        (
            "app",
            &[
                "identity", "protocol", "local", "routing", "cluster", "session", "http", "settings", "auth",
                "observe",
            ],
        ),
    ],
    pure: &["protocol", "local"],
};

const OPERATOR: ImportTable = ImportTable {
    folder: "operator/src",
    rows: &[
        ("api", &[]),
        ("desired", &["api"]),
        ("observed", &["api"]),
        ("plan", &["api", "desired", "observed"]),
        ("settings", &[]),
        ("observe", &["settings"]),
        ("hub_admin", &["api", "observed"]),
        ("reconcile", &["api", "desired", "observed", "plan", "hub_admin", "settings", "observe"]),
        ("kubectl", &["api", "desired"]),
        ("app", &["api", "desired", "observed", "plan", "hub_admin", "reconcile", "settings", "observe"]),
    ],
    pure: &["desired", "plan"],
};

const TOP_LEVEL: [&str; 15] = [
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "Dockerfile",
    "K8S_DEPLOYMENT.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "charts",
    "crds",
    "docs",
    "hub",
    "manifests",
    "operator",
    "tests",
];

fn all_files() -> Result<Vec<SourceFile>> {
    let mut files = source_tree::rust_files("hub")?;
    files.extend(source_tree::rust_files("operator")?);
    files.extend(source_tree::rust_files("tests")?);
    Ok(files)
}

fn check(rule: impl Fn(&SourceFile) -> Vec<String>, files: &[&SourceFile]) {
    let found: Vec<String> = files.iter().flat_map(|file| rule(file)).collect();
    assert!(found.is_empty(), "{} violations:\n{}", found.len(), found.join("\n"));
}

fn check_crate(table: &ImportTable, rule: fn(&ImportTable, &SourceFile) -> Vec<String>) -> Result<()> {
    let files = source_tree::rust_files(table.folder)?;
    check(|file| rule(table, file), &without_test_files(&files));
    Ok(())
}

fn file(path: &str, text: &str) -> SourceFile {
    SourceFile { path: path.to_owned(), text: text.to_owned() }
}

#[test]
fn hub_modules_import_only_what_lies_left_of_them() -> Result<()> {
    check_crate(&HUB, import_violations)
}

#[test]
fn operator_modules_import_only_what_lies_left_of_them() -> Result<()> {
    check_crate(&OPERATOR, import_violations)
}

#[test]
fn a_wrong_import_is_found_however_it_is_written() {
    let bad = [
        ("hub/src/local/fan_out.rs", "use crate::routing::router::Router;"),
        ("hub/src/local/fan_out.rs", "fn f() { crate::http::serve() }"),
        ("hub/src/local/fan_out.rs", "use super::super::routing;"),
        ("hub/src/session/mod.rs", "use super::cluster::Bus;"),
        ("hub/src/session/socket.rs", "use crate::{identity::UserId, http::websocket};"),
        ("hub/src/http/nodes.rs", "pub use crate::cluster::memory;"),
        ("hub/src/identity/user_id.rs", "mod inner { use super::super::super::protocol::x; }"),
        ("hub/src/surprise/mod.rs", ""),
        ("hub/src/settings.rs", "use crate::auth::keys;"),
    ];
    for (path, text) in bad {
        assert_eq!(import_violations(&HUB, &file(path, text)).len(), 1, "{path}: {text}");
    }
    let bad = [
        ("operator/src/desired/pdb.rs", "use crate::observed::pod;"),
        ("operator/src/plan/decide.rs", "use crate::reconcile::apply;"),
        ("operator/src/api/redis.rs", "use crate::desired::names;"),
    ];
    for (path, text) in bad {
        assert_eq!(import_violations(&OPERATOR, &file(path, text)).len(), 1, "{path}: {text}");
    }
    let good = [
        ("hub/src/local/fan_out.rs", "use crate::identity::UserId; use super::connection::Connection;"),
        ("hub/src/http/websocket.rs", "use crate::session::{self, limits};"),
        ("hub/src/app.rs", "use crate::cluster::membership;"),
        ("hub/src/local/fan_out.rs", "#[cfg(test)] mod tests { use crate::routing::x; }"),
    ];
    for (path, text) in good {
        assert_eq!(import_violations(&HUB, &file(path, text)), Vec::<String>::new(), "{path}: {text}");
    }
}

#[test]
fn protocol_and_local_stay_pure() -> Result<()> {
    check_crate(&HUB, purity_violations)
}

#[test]
fn desired_and_plan_stay_pure() -> Result<()> {
    check_crate(&OPERATOR, purity_violations)
}

#[test]
fn impurity_is_found() {
    for text in [
        "use tokio::sync::Mutex;",
        "use std::{sync::Arc, fs};",
        "use std::time::Instant; fn f() { Instant::now(); }",
        "fn f() { std::time::SystemTime::now(); }",
        "fn f(t: Instant) { t.elapsed(); }",
        "fn f() { std::env::var(\"A\"); }",
        "use kube::{Client, ResourceExt};",
        "use std::net::SocketAddr;",
        "fn f() { redis::cmd(\"GET\"); }",
    ] {
        assert!(!purity_violations(&HUB, &file("hub/src/protocol/envelope.rs", text)).is_empty(), "{text}");
        assert!(
            !purity_violations(&OPERATOR, &file("operator/src/plan/decide.rs", text)).is_empty(),
            "{text}"
        );
        assert!(purity_violations(&HUB, &file("hub/src/cluster/bus.rs", text)).is_empty(), "{text}");
    }
    let own_module = "use super::redis; fn f() { redis::service() }";
    assert!(purity_violations(&HUB, &file("hub/src/local/x.rs", own_module)).is_empty());
    let pure = "use std::{task::Waker, time::Duration}; use kube::ResourceExt; #[cfg(test)] mod tests { use std::fs; }";
    assert!(purity_violations(&HUB, &file("hub/src/local/x.rs", pure)).is_empty());
}

#[test]
fn files_keep_to_the_line_cap() -> Result<()> {
    let files = all_files()?;
    check(length_violations, &files.iter().collect::<Vec<_>>());
    Ok(())
}

#[test]
fn a_long_file_is_found() {
    assert!(length_violations(&file("hub/src/a.rs", &"\n".repeat(MAX_LINES))).is_empty());
    assert_eq!(length_violations(&file("hub/src/a.rs", &"\n".repeat(MAX_LINES + 1))).len(), 1);
    assert_eq!(length_violations(&file("hub/src/main.rs", &"\n".repeat(MAX_MAIN_LINES + 1))).len(), 1);
}

#[test]
fn lib_and_mod_files_are_tables_of_contents() -> Result<()> {
    let mut files = source_tree::rust_files("hub/src")?;
    files.extend(source_tree::rust_files("operator/src")?);
    files.extend(source_tree::rust_files("tests/src")?);
    check(contents_violations, &files.iter().collect::<Vec<_>>());
    Ok(())
}

#[test]
fn code_in_a_table_of_contents_is_found() {
    for text in [
        "mod a; fn f() {}",
        "pub struct A;",
        "pub enum A { B }",
        "mod inline { fn f() {} }",
        "const A: u8 = 1;",
        "impl A {}",
    ] {
        assert_eq!(contents_violations(&file("hub/src/http/mod.rs", text)).len(), 1, "{text}");
    }
    let good = "//! Doc.\n#![allow(x)]\n#[doc(hidden)]\npub mod a;\npub use a::{B, c::D};\nmod e;\n#[cfg(test)] mod tests { fn f() {} }";
    assert_eq!(contents_violations(&file("hub/src/lib.rs", good)), Vec::<String>::new());
    assert_eq!(contents_violations(&file("hub/src/other.rs", "fn f() {}")), Vec::<String>::new());
}

#[test]
fn no_file_or_folder_is_named_after_nothing() -> Result<()> {
    let files = all_files()?;
    check(name_violations, &files.iter().collect::<Vec<_>>());
    assert_eq!(name_violations(&file("hub/src/http/utils.rs", "")).len(), 1);
    assert_eq!(name_violations(&file("hub/src/common/x.rs", "")).len(), 1);
    assert!(name_violations(&file("hub/src/http/routes.rs", "")).is_empty());
    Ok(())
}

#[test]
fn no_work_is_left_as_a_note() -> Result<()> {
    let files = all_files()?;
    check(note_violations, &files.iter().collect::<Vec<_>>());
    assert_eq!(note_violations(&file("a.rs", concat!("// TO", "DO: later"))).len(), 1);
    assert_eq!(note_violations(&file("a.rs", concat!("fn f() { to", "do!() }"))).len(), 1);
    assert!(note_violations(&file("a.rs", concat!("let mastodon", "TO", "DOs = 1;"))).is_empty());
    Ok(())
}

#[test]
fn the_top_level_holds_only_what_the_architecture_names() -> Result<()> {
    let mut surplus = Vec::new();
    for entry in std::fs::read_dir(source_tree::root())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && name != "target" && !TOP_LEVEL.contains(&name.as_str()) {
            surplus.push(name);
        }
    }
    assert!(surplus.is_empty(), "not named by the architecture: {}", surplus.join(", "));
    Ok(())
}

#[test]
fn test_only_files_are_told_from_the_rest() {
    let files = [
        file("operator/src/plan/mod.rs", "mod decide;\n#[cfg(test)]\nmod table_tests;"),
        file("operator/src/plan/decide.rs", "#[cfg(test)] mod cases;"),
        file("operator/src/plan/decide/cases.rs", ""),
        file("operator/src/plan/table_tests.rs", ""),
    ];
    let left: Vec<&str> = without_test_files(&files).iter().map(|file| file.path.as_str()).collect();
    assert_eq!(left, ["operator/src/plan/mod.rs", "operator/src/plan/decide.rs"]);
    assert_eq!(module_of("operator/src", "operator/src/plan/mod.rs"), ["plan"]);
    assert_eq!(module_of("operator/src", "operator/src/app.rs"), ["app"]);
    assert!(module_of("hub/src", "hub/src/lib.rs").is_empty());
}
