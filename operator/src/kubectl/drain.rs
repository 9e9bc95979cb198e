//! `drain` and `cancel`: one node by hand. The operator counts such a node as down and leaves its drain alone.

use http::Method;
use rand::RngExt as _;
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::arguments::{CancelArguments, DrainArguments};
use super::error::KubectlError;
use super::hub_call::HubDoor;
use super::place::Place;
use super::survey::{NodeWord, word};

/// How the operator's own drains begin.
const OF_THE_OPERATOR: &str = "wsc-operator/";
/// How those of this program begin.
const OF_THE_PLUGIN: &str = "kubectl-wsc/";

const PATH: &str = "/admin/drain";

async fn door(place: &Place, pod: &str) -> Result<HubDoor, KubectlError> {
    let cluster = place.cluster_of(pod).await?;
    Ok(HubDoor::new(place.api(), place.api_key(&cluster, true).await?))
}

/// Begins a drain under an id of its own.
///
/// # Errors
/// When the pod is no hub, is silent, refuses, or the operator drains it already.
pub async fn begin(place: &Place, arguments: &DrainArguments) -> Result<Answer, KubectlError> {
    let pod = &arguments.pod;
    let door = door(place, pod).await?;
    let now = word(&door, pod).await?;
    let id = format!("{OF_THE_PLUGIN}{:08x}", rand::rng().random::<u32>());
    let order = order(arguments, &now, &id)?;
    let json = door.json(pod, Method::POST, PATH, Some(&order)).await?;
    let text = format!(
        "{pod} drains by the order {id}: {} connections to go; watch it with `kubectl wsc nodes`, take it back with `kubectl wsc cancel {pod}`\n",
        json["drain"]["remaining"]
    );
    Ok(Answer { text, json })
}

/// The order, bound to the life of the node that was just asked.
fn order(arguments: &DrainArguments, now: &NodeWord, id: &str) -> Result<Value, KubectlError> {
    if let Some(drain) = &now.drain
        && drain.id.starts_with(OF_THE_OPERATOR)
        && !arguments.force
    {
        return Err(KubectlError::NotNow(format!(
            "the operator drains {} already ({}); --force replaces its order",
            arguments.pod, drain.id
        )));
    }
    let mut order = Map::from_iter([
        ("id".to_owned(), json!(id)),
        ("expect".to_owned(), json!({"node_id": now.node_id, "incarnation": now.incarnation})),
    ]);
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            order.insert(name.to_owned(), value);
        }
    };
    let millis = |duration: &crate::api::SpecDuration| json!(duration.get().as_millis());
    put("rate_per_second", arguments.rate.map(|rate| json!(rate)));
    put("deadline_ms", arguments.deadline.as_ref().map(millis));
    put("retry_after_max_ms", arguments.retry_after_max.as_ref().map(millis));
    Ok(Value::Object(order))
}

/// Takes a drain back.
///
/// # Errors
/// When the pod is no hub, does not drain, or the drain is the operator's.
pub async fn cancel(place: &Place, arguments: &CancelArguments) -> Result<Answer, KubectlError> {
    let pod = &arguments.pod;
    let door = door(place, pod).await?;
    let id = may_cancel(arguments, &word(&door, pod).await?)?;
    let json = door.json(pod, Method::DELETE, PATH, None).await?;
    Ok(Answer { text: format!("the drain {id} of {pod} is taken back; it takes clients again\n"), json })
}

fn may_cancel(arguments: &CancelArguments, now: &NodeWord) -> Result<String, KubectlError> {
    let pod = &arguments.pod;
    match &now.drain {
        None => Err(KubectlError::NotNow(format!("{pod} does not drain, it is {}", now.phase))),
        Some(drain) if drain.id.starts_with(OF_THE_OPERATOR) && !arguments.force => {
            Err(KubectlError::NotNow(format!(
                "the drain of {pod} is the operator's ({}), which would order it again: change what it is working on (kubectl wsc status), or use --force",
                drain.id
            )))
        }
        Some(drain) => Ok(drain.id.clone()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{may_cancel, order};
    use crate::kubectl::arguments::{CancelArguments, DrainArguments};
    use crate::kubectl::survey::tests::says;

    fn drain(force: bool) -> DrainArguments {
        DrainArguments {
            pod: "chat-0".into(),
            rate: Some(50),
            deadline: Some("2m".to_owned().try_into().unwrap()),
            retry_after_max: None,
            force,
        }
    }

    #[test]
    fn the_order_names_the_life_of_the_node_and_only_what_was_asked() {
        let mut now = says(5, None);
        (now.node_id, now.incarnation) = ("chat-0".into(), "u.1".into());
        assert_eq!(
            order(&drain(false), &now, "kubectl-wsc/1").unwrap(),
            json!({
                "id": "kubectl-wsc/1", "expect": {"node_id": "chat-0", "incarnation": "u.1"},
                "rate_per_second": 50, "deadline_ms": 120_000
            })
        );
    }

    #[test]
    fn the_operators_drains_are_left_alone_without_force() {
        let theirs = says(5, Some(("wsc-operator/r1", 5)));
        assert!(order(&drain(false), &theirs, "x").unwrap_err().to_string().contains("--force"));
        assert!(order(&drain(true), &theirs, "x").is_ok());
        let cancel = |force| CancelArguments { pod: "chat-0".into(), force };
        assert!(may_cancel(&cancel(false), &theirs).unwrap_err().to_string().contains("operator's"));
        assert_eq!(may_cancel(&cancel(true), &theirs).unwrap(), "wsc-operator/r1");
        assert_eq!(may_cancel(&cancel(false), &says(5, Some(("mine", 5)))).unwrap(), "mine");
        assert!(
            may_cancel(&cancel(false), &says(5, None)).unwrap_err().to_string().contains("does not drain")
        );
    }
}
