//! Whole resources in, all their children out, compared with files that a person has read. A change of a pod template
//! shows here before it restarts anybody's pods.
//!
//! `UPDATE_GOLDEN=1 cargo test -p wsc-operator golden` writes the files anew.

use std::path::PathBuf;

use super::fixture::inputs;
use super::{children, secrets};
use crate::api::WscCluster;

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/desired/golden").join(file)
}

fn render(case: &str) -> String {
    let input = std::fs::read_to_string(path(&format!("{case}.in.yaml"))).unwrap();
    let cluster: WscCluster = serde_yaml::from_str(&input).unwrap();
    let mut next = 0_u8;
    let mut random = |count: usize| {
        next += 1;
        vec![next; count]
    };
    let generated =
        secrets(&cluster, &mut random).into_iter().map(|secret| serde_json::to_value(secret).unwrap());
    let applied = children(&cluster, &inputs()).unwrap();
    let applied = applied.iter().map(|child| child.to_json().unwrap());
    generated
        .chain(applied)
        .map(|object| format!("---\n{}", serde_yaml::to_string(&object).unwrap()))
        .collect()
}

fn compare(case: &str) {
    let rendered = render(case);
    let file = path(&format!("{case}.out.yaml"));
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        std::fs::write(&file, &rendered).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&file)
        .unwrap_or_else(|error| panic!("{}: {error}; write it with UPDATE_GOLDEN=1", file.display()));
    let different = rendered.lines().zip(expected.lines()).enumerate().find(|(_, (new, old))| new != old);
    if let Some((line, (new, old))) = different {
        panic!(
            "{case} line {}: expected\n  {old}\nbut made\n  {new}\nIf that is meant, run with UPDATE_GOLDEN=1.",
            line + 1
        );
    }
    assert_eq!(rendered.lines().count(), expected.lines().count(), "{case}: lines were added or removed");
}

#[test]
fn golden_smallest() {
    compare("smallest");
}

#[test]
fn golden_external_redis_behind_an_ingress() {
    compare("external");
}

#[test]
fn golden_durable_behind_a_proxy() {
    compare("durable");
}
