//! The hub and the operator know each other only by names; here the two lists are held together.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result};
use regex::Regex;
use sha2::{Digest as _, Sha256};
use wsc_tests::{
    hub_fleet::ADMIN_KEY,
    hub_process::{HubOptions, HubProcess},
    lone_hub::LoneHub,
    scratch_dir::ScratchDir,
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
    for folder in ["operator/src/desired", "operator/src/api"] {
        for file in source_tree::rust_files(folder)? {
            set.extend(names(&file.text));
        }
    }
    assert!(set.contains("WSC_NODE_ID") && set.len() > 15, "the operator sets only {set:?}");
    let unknown: Vec<_> = set.difference(&known).collect();
    assert!(unknown.is_empty(), "the hub does not know {unknown:?}");
    Ok(())
}

/// The hot settings in the children that the operator makes of its examples: name of the example and text.
fn hot_settings() -> Result<Vec<(String, String)>> {
    let folder = source_tree::root().join("operator/src/desired/golden");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.ends_with(".out.yaml") {
            continue;
        }
        let children = std::fs::read_to_string(&path)?;
        let (_, rest) = children.split_once("  settings.yaml: |\n").context("no hot settings")?;
        let lines = rest.lines().map_while(|line| line.strip_prefix("    "));
        found.push((name, lines.map(|line| format!("{line}\n")).collect()));
    }
    Ok(found)
}

#[tokio::test]
async fn the_hot_settings_that_the_operator_writes_are_those_that_the_hub_reads() -> Result<()> {
    let examples = hot_settings()?;
    assert!(examples.len() >= 3, "{examples:?}");
    for (name, text) in examples {
        let folder = ScratchDir::new("hot")?;
        let path = folder.write("settings.yaml", &text)?;
        let lone = LoneHub::trusted(|options| options.set_path("WSC_HOT_SETTINGS_FILE", &path)).await?;
        let status = lone.hub.api(ADMIN_KEY)?.get("/admin/status").await?.ok()?;
        let hash: String = Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(status["hot_hash"], hash, "{name}: {status}");
        assert_eq!(status.get("hot_error"), None, "{name}: {status}");
    }
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
