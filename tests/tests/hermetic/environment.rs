//! The hub and the operator know each other only by names; here the two lists are held together.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Result;
use wsc_tests::{hub_process::HubOptions, source_tree};

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

#[test]
fn names_are_found_whole() {
    let found = names("\"WSC_LOG\", WSC_LOG_FORMAT] XWSC_NO");
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["WSC_LOG", "WSC_LOG_FORMAT"]);
}
