//! The hub and the operator know each other only by names; here the two lists are held together.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result};
use regex::Regex;
use wsc_tests::{
    hub_process::{HubOptions, HubProcess},
    source_tree,
};

/// All `WSC_...` names in a text.
fn names(text: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    text.match_indices("WSC_")
        .filter(|(at, _)| !text[..*at].chars().next_back().is_some_and(is_name))
        .map(|(at, _)| text[at..].chars().take_while(|c| is_name(*c)).collect())
        .collect()
}

#[tokio::test]
async fn every_variable_the_operator_sets_is_a_setting_of_the_hub() -> Result<()> {
    let mut help = HubOptions::default().flag("--help").spawn()?;
    help.exit(Duration::from_secs(10)).await?;
    let known = names(&help.stdout());
    assert!(known.len() > 25, "--help lists only {known:?}");

    let mut set = BTreeSet::new();
    for file in source_tree::rust_files("operator/src/desired")? {
        set.extend(names(&file.text));
    }
    assert!(set.contains("WSC_NODE_ID") && set.len() > 15, "the operator sets only {set:?}");
    let unknown: Vec<_> = set.difference(&known).collect();
    assert!(unknown.is_empty(), "the hub does not know {unknown:?}");
    Ok(())
}

/// What the definition of the resource lets an item of `allowedOrigins` be.
fn origin_pattern() -> Result<Regex> {
    let path = source_tree::root().join("crds/wscclusters.wsc.dev.yaml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let (_, rest) = text.split_once("allowedOrigins:").context("no allowedOrigins")?;
    let pattern =
        rest.lines().find_map(|line| line.trim().strip_prefix("pattern: ")).context("no pattern")?;
    Ok(Regex::new(pattern)?)
}

#[tokio::test]
async fn an_origin_that_the_resource_admits_is_one_that_the_hub_takes() -> Result<()> {
    let pattern = origin_pattern()?;
    let taken = ["*", "https://chat.example.com", "http://localhost:8080", "https://[::1]:8443"];
    let refused =
        ["https://*.x", "https://*", "https://a?b", "https://a#b", "https://a/b", "https://u@a", "a b"];
    for origin in taken {
        assert!(pattern.is_match(origin), "{origin}");
        let options = HubOptions::default().flag("--dev").set("WSC_ALLOWED_ORIGINS", origin);
        let options = options.set("WSC_CLIENT_ADDR", "127.0.0.1:0").set("WSC_API_ADDR", "127.0.0.1:0");
        HubProcess::start(&options).await?;
    }
    for origin in refused {
        assert!(!pattern.is_match(origin), "{origin}");
        let options = HubOptions::default().flag("--dev").set("WSC_ALLOWED_ORIGINS", origin);
        let mut process = options.spawn()?;
        let status = process.exit(Duration::from_secs(10)).await?;
        assert_eq!(status.code(), Some(64), "{origin}: {}", process.output());
    }
    Ok(())
}

#[test]
fn names_are_found_whole() {
    let found = names("\"WSC_LOG\", WSC_LOG_FORMAT] XWSC_NO");
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["WSC_LOG", "WSC_LOG_FORMAT"]);
}
