//! Which command does what.

use serde_json::Value;

use crate::api::WscCluster;

use super::answer::Answer;
use super::arguments::{Arguments, Command, Target};
use super::error::KubectlError;
use super::place::Place;
use super::survey::{self, NodeRow};
use super::{completion, drain, order, overview, report, token, user};

/// Runs one command and gives what is to be printed.
///
/// # Errors
/// When it was not carried out; the text says why and what would help.
pub async fn run(arguments: Arguments) -> Result<String, KubectlError> {
    match &arguments.command {
        Command::Completion { shell } => return Ok(completion::script(*shell)),
        Command::Complete { words } => return Ok(completion::answer(words).await),
        _ => {}
    }
    let Target { output, .. } = arguments.target;
    let place = Place::reach(&arguments.target).await?;
    // On the heap: it holds the state of the largest command.
    Box::pin(answer(&place, arguments.command)).await?.print(output)
}

async fn answer(place: &Place, command: Command) -> Result<Answer, KubectlError> {
    let named = async |name: &Option<String>| place.cluster(name.as_deref()).await;
    match command {
        Command::Status { name: Some(name) } => {
            let cluster = place.cluster(Some(&name)).await?;
            Ok(overview::tree(&cluster, &rows(place, &cluster).await?))
        }
        Command::Status { name: None } => all(place).await,
        Command::Nodes { name } => {
            let cluster = named(&name).await?;
            Ok(overview::nodes(&rows(place, &cluster).await?))
        }
        Command::User(arguments) => {
            user::find(place, &named(&arguments.cluster).await?, &arguments.user).await
        }
        Command::Token(arguments) => token::mint(place, &named(&arguments.cluster).await?, &arguments).await,
        Command::Drain(arguments) => drain::begin(place, &arguments).await,
        Command::Cancel(arguments) => drain::cancel(place, &arguments).await,
        Command::Restart { name } => order::restart(place, &named(&name).await?).await,
        Command::Rebalance { name, id } => order::rebalance(place, &named(&name).await?, id.as_deref()).await,
        Command::Report(arguments) => report::write(place, &named(&arguments.name).await?, &arguments).await,
        // These need no cluster and were answered before.
        Command::Completion { shell } => Ok(Answer { text: completion::script(shell), json: Value::Null }),
        Command::Complete { words } => {
            Ok(Answer { text: completion::answer(&words).await, json: Value::Null })
        }
    }
}

async fn rows(place: &Place, cluster: &WscCluster) -> Result<Vec<NodeRow>, KubectlError> {
    let pods = place.hub_pods(cluster).await?;
    let words = survey::ask(place, cluster, &pods).await;
    Ok(survey::rows(&cluster.status.clone().unwrap_or_default(), &pods, &words))
}

/// The trees of all clusters of the namespace. As JSON always a list, so that programs need not tell one from many.
async fn all(place: &Place) -> Result<Answer, KubectlError> {
    let mut clusters = place.clusters().await?;
    if clusters.is_empty() {
        return Err(KubectlError::Empty(place.namespace.clone()));
    }
    clusters.sort_by_key(kube::ResourceExt::name_any);
    let mut texts = Vec::new();
    let mut json = Vec::new();
    for cluster in &clusters {
        let tree = overview::tree(cluster, &rows(place, cluster).await?);
        texts.push(tree.text);
        json.push(tree.json);
    }
    Ok(Answer { text: texts.join("\n"), json: Value::Array(json) })
}
