//! Completion: scripts for shells, and the answers that `kubectl` asks its plugins for.
//!
//! kubectl runs `kubectl_complete-wsc` with the words typed after `kubectl wsc`, the last of which is being completed.
//! It reads one candidate a line and, last, a colon with a number that says what the shell may add.

use clap::CommandFactory as _;
use clap::builder::ValueHint;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;

use crate::desired::labels;

use super::arguments::{Arguments, CompletionFor, Target};
use super::place::Place;

/// cobra's number for "no file names".
const NO_FILES: u8 = 4;
/// cobra's number for "as the shell would".
const AS_USUAL: u8 = 0;

/// What kubectl finds on PATH.
const FOR_KUBECTL: &str = "#!/bin/sh\n\
    # Completion of `kubectl wsc` for kubectl: put it on PATH, executable, as kubectl_complete-wsc.\n\
    exec kubectl-wsc __complete -- \"$@\"\n";

/// The script for whom it is asked.
#[must_use]
pub fn script(whom: CompletionFor) -> String {
    let Some(shell) = whom.shell() else {
        return FOR_KUBECTL.to_owned();
    };
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "kubectl-wsc", &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// What a word may be.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Candidates {
    Words(Vec<String>),
    Clusters,
    Pods,
    Files,
    Nothing,
}

/// What kubectl prints while a user types. A cluster that does not answer offers nothing.
pub async fn answer(words: &[String]) -> String {
    let (typed, before) =
        words.split_last().map_or(("", &[] as &[String]), |(last, before)| (last.as_str(), before));
    let (found, directive) = match candidates(before, typed) {
        Candidates::Words(words) => (words, NO_FILES),
        Candidates::Clusters => (names(before, false).await, NO_FILES),
        Candidates::Pods => (names(before, true).await, NO_FILES),
        Candidates::Files => (Vec::new(), AS_USUAL),
        Candidates::Nothing => (Vec::new(), NO_FILES),
    };
    let mut text = String::new();
    for word in found.iter().filter(|word| word.starts_with(typed)) {
        text.push_str(&format!("{word}\n"));
    }
    text + &format!(":{directive}\n")
}

/// What may stand in the place of the last word.
fn candidates(before: &[String], typed: &str) -> Candidates {
    let root = Arguments::command();
    let flag_of = |command: &clap::Command, word: &str| -> Option<clap::Arg> {
        let mut flags = command.get_arguments().chain(root.get_arguments());
        let long = word.strip_prefix("--");
        let short =
            word.strip_prefix('-').filter(|rest| rest.len() == 1).and_then(|rest| rest.chars().next());
        flags
            .find(|flag| {
                long.is_some() && flag.get_long() == long || short.is_some() && flag.get_short() == short
            })
            .cloned()
    };
    let mut command: Option<&clap::Command> = None;
    let mut positions = 0;
    let mut awaits: Option<clap::Arg> = None;
    for word in before {
        if awaits.take().is_some() {
            continue;
        }
        if word.starts_with('-') {
            awaits = flag_of(command.unwrap_or(&root), word).filter(|flag| flag.get_action().takes_values());
        } else if command.is_none() {
            command = root.find_subcommand(word);
        } else {
            positions += 1;
        }
    }
    if let Some(flag) = awaits {
        return values(&flag);
    }
    let Some(command) = command else {
        return if typed.starts_with('-') {
            Candidates::Words(flags(&root, None))
        } else {
            Candidates::Words(commands(&root))
        };
    };
    if typed.starts_with('-') {
        return Candidates::Words(flags(&root, Some(command)));
    }
    match (command.get_name(), positions) {
        ("status" | "nodes" | "restart" | "rebalance" | "report", 0) => Candidates::Clusters,
        ("drain" | "cancel", 0) => Candidates::Pods,
        (_, position) => command.get_positionals().nth(position).map_or(Candidates::Nothing, values),
    }
}

fn commands(root: &clap::Command) -> Vec<String> {
    root.get_subcommands()
        .filter(|command| !command.is_hide_set())
        .map(|command| command.get_name().to_owned())
        .collect()
}

fn flags(root: &clap::Command, command: Option<&clap::Command>) -> Vec<String> {
    let own = command.into_iter().flat_map(clap::Command::get_arguments);
    let mut found: Vec<String> =
        own.chain(root.get_arguments()).filter_map(|flag| Some(format!("--{}", flag.get_long()?))).collect();
    found.push("--help".to_owned());
    found.sort();
    found.dedup();
    found
}

fn values(flag: &clap::Arg) -> Candidates {
    let known: Vec<String> =
        flag.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    if !known.is_empty() {
        return Candidates::Words(known);
    }
    match (flag.get_id().as_str(), flag.get_value_hint()) {
        ("cluster", _) => Candidates::Clusters,
        ("file" | "kubeconfig", _) | (_, ValueHint::FilePath | ValueHint::AnyPath) => Candidates::Files,
        _ => Candidates::Nothing,
    }
}

/// The flags that say where to look, as far as they were typed.
fn target(before: &[String]) -> Target {
    let value = |names: [&str; 2]| {
        before.iter().enumerate().find_map(|(index, word)| {
            if names.contains(&word.as_str()) {
                return before.get(index + 1).cloned();
            }
            names.iter().find_map(|name| word.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
        })
    };
    Target {
        namespace: value(["-n", "--namespace"]),
        context: value(["--context", "--context"]),
        kubeconfig: value(["--kubeconfig", "--kubeconfig"]).map(Into::into),
        ..Target::default()
    }
}

async fn names(before: &[String], pods: bool) -> Vec<String> {
    let Ok(place) = Place::reach(&target(before)).await else {
        return Vec::new();
    };
    if pods {
        let selector = format!("{}={},{}", labels::NAME, labels::HUB_NAME, labels::CLUSTER);
        let list = place.api::<Pod>().list_metadata(&ListParams::default().labels(&selector)).await;
        return list.map(|list| list.iter().map(kube::ResourceExt::name_any).collect()).unwrap_or_default();
    }
    let list = place.api::<crate::api::WscCluster>().list_metadata(&ListParams::default()).await;
    list.map(|list| list.iter().map(kube::ResourceExt::name_any).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Candidates, candidates, script, target};
    use crate::kubectl::arguments::CompletionFor;

    fn split(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn each_place_offers_what_may_stand_there() {
        for (before, typed, wanted) in [
            ("status", "", Candidates::Clusters),
            ("-n demo nodes", "ch", Candidates::Clusters),
            ("drain", "", Candidates::Pods),
            ("drain chat-0", "", Candidates::Nothing),
            ("token alice -c", "", Candidates::Clusters),
            ("user", "", Candidates::Nothing),
            ("report chat --file", "", Candidates::Files),
            ("status -o", "", Candidates::Words(vec!["text".into(), "json".into()])),
            (
                "completion",
                "",
                Candidates::Words(vec!["bash".into(), "zsh".into(), "fish".into(), "kubectl".into()]),
            ),
        ] {
            assert_eq!(candidates(&split(before), typed), wanted, "{before} {typed}");
        }
        let Candidates::Words(commands) = candidates(&[], "") else { panic!("no words") };
        assert!(commands.contains(&"rebalance".to_owned()) && !commands.contains(&"__complete".to_owned()));
        let Candidates::Words(flags) = candidates(&split("drain chat-0"), "--") else { panic!("no words") };
        assert!(
            flags.contains(&"--rate".to_owned()) && flags.contains(&"--namespace".to_owned()),
            "{flags:?}"
        );
    }

    #[test]
    fn flags_that_say_where_to_look_are_found_in_both_forms() {
        let place = target(&split("--namespace=demo status --context there"));
        assert_eq!((place.namespace.as_deref(), place.context.as_deref()), (Some("demo"), Some("there")));
    }

    #[test]
    fn there_is_a_script_for_everybody() {
        for (whom, word) in [
            (CompletionFor::Bash, "complete -F"),
            (CompletionFor::Zsh, "#compdef kubectl-wsc"),
            (CompletionFor::Fish, "complete -c kubectl-wsc"),
            (CompletionFor::Kubectl, "__complete"),
        ] {
            assert!(script(whom).contains(word), "{whom:?}");
        }
    }
}
