//! `report`: everything that helps somebody else to see what is wrong, in one file and without secrets.

use std::fmt::Display;
use std::io::Write as _;
use std::path::PathBuf;

use http::Method;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DynamicObject, ListParams, LogParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

use crate::api::WscCluster;
use crate::desired::{labels, names};

use super::answer::Answer;
use super::arguments::ReportArguments;
use super::bundle::Bundle;
use super::error::KubectlError;
use super::hub_call::HubDoor;
use super::overview;
use super::place::Place;
use super::redaction::{Redaction, outline};
use super::survey;

/// Kinds whose objects carry the cluster's label: group, version, kind, plural. Secrets are not among them.
const KINDS: [(&str, &str, &str, &str); 14] = [
    ("", "v1", "Service", "services"),
    ("", "v1", "ServiceAccount", "serviceaccounts"),
    ("", "v1", "ConfigMap", "configmaps"),
    ("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
    ("apps", "v1", "StatefulSet", "statefulsets"),
    ("apps", "v1", "ControllerRevision", "controllerrevisions"),
    ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
    ("networking.k8s.io", "v1", "Ingress", "ingresses"),
    ("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
    ("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices"),
    ("monitoring.coreos.com", "v1", "PodMonitor", "podmonitors"),
    ("monitoring.coreos.com", "v1", "PrometheusRule", "prometheusrules"),
    ("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes"),
];

/// What is asked of every hub, and the name of the file.
const HUB_PAGES: [(&str, &str); 4] = [
    ("/admin/status", "status.json"),
    ("/nodes", "nodes.json"),
    ("/v1/stats", "stats.json"),
    ("/metrics", "metrics.txt"),
];

/// Writes the bundle. What cannot be read is noted in it, so that the rest is still worth something.
///
/// # Errors
/// When the file cannot be written.
pub async fn write(
    place: &Place,
    cluster: &WscCluster,
    arguments: &ReportArguments,
) -> Result<Answer, KubectlError> {
    let mut bundle = Bundle::default();
    let redaction = secrets(place, cluster, &mut bundle).await;
    resource(place, cluster, &mut bundle).await;
    children(place, cluster, &mut bundle).await;
    events(place, cluster, &mut bundle).await;
    hubs(place, cluster, &mut bundle).await;
    logs(place, cluster, arguments, &mut bundle).await;

    let now = Timestamp::now();
    let stamp = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let folder = format!("wsc-{}-{}-{stamp}", place.namespace, names::cluster(cluster));
    let file = arguments.file.clone().unwrap_or_else(|| PathBuf::from(format!("{folder}.tar.gz")));
    let failed = |source| KubectlError::File { file: file.display().to_string(), source };
    let mut problems = bundle.problems().to_vec();
    for problem in &mut problems {
        *problem = redaction.clean(problem);
    }
    let count = bundle.paths().len();
    let packed = bundle
        .pack(&folder, u64::try_from(now.as_second()).unwrap_or_default(), &redaction)
        .map_err(failed)?;
    let mut to = std::fs::File::create_new(&file).map_err(failed)?;
    to.write_all(&packed).map_err(failed)?;
    let mut text = format!("wrote {} with {count} files\n", file.display());
    for problem in &problems {
        text.push_str(&format!("not in it: {problem}\n"));
    }
    Ok(Answer {
        text,
        json: json!({"file": file.display().to_string(), "files": count, "problems": problems}),
    })
}

/// Learns every secret of the cluster, and notes which Secrets there are.
async fn secrets(place: &Place, cluster: &WscCluster, bundle: &mut Bundle) -> Redaction {
    let mut redaction = Redaction::default();
    let mut outlines = Vec::new();
    for name in secret_names(cluster) {
        match place.secret(&name).await {
            Ok(secret) => {
                let data = secret.data.unwrap_or_default();
                outlines.push(outline(&name, &data));
                redaction.learn(&data);
            }
            Err(error) => bundle.problem(error.to_string()),
        }
    }
    bundle.object("secrets.yaml", Value::Array(outlines));
    // A password that a user wrote into a variable can be repeated by a program of theirs.
    for variable in &cluster.spec.hub.env {
        if let Some(value) = &variable.value
            && value.len() >= 12
        {
            redaction.learn_value(value.as_bytes());
        }
    }
    redaction
}

/// Every Secret that the resource leads to.
fn secret_names(cluster: &WscCluster) -> Vec<String> {
    let mut found = vec![names::effective_auth_secret(cluster), names::effective_api_secret(cluster)];
    if cluster.spec.redis.managed.is_some() {
        found.push(names::redis_secret(cluster));
    }
    // By field name, so that a reference that a later release adds is not forgotten.
    let spec = serde_json::to_value(&cluster.spec.redis).unwrap_or_default();
    collect_references(&spec, &mut found);
    found.sort();
    found.dedup();
    found
}

fn collect_references(value: &Value, found: &mut Vec<String>) {
    for (key, value) in value.as_object().into_iter().flatten() {
        match value["name"].as_str() {
            Some(name) if key.ends_with("SecretRef") => found.push(name.to_owned()),
            _ => collect_references(value, found),
        }
    }
}

async fn resource(place: &Place, cluster: &WscCluster, bundle: &mut Bundle) {
    match serde_json::to_value(cluster) {
        Ok(object) => bundle.object("wsccluster.yaml", object),
        Err(error) => bundle.problem(format!("the resource: {error}")),
    }
    let pods = match place.hub_pods(cluster).await {
        Ok(pods) => pods,
        Err(error) => return bundle.problem(error.to_string()),
    };
    let words = survey::ask(place, cluster, &pods).await;
    let rows = survey::rows(&cluster.status.clone().unwrap_or_default(), &pods, &words);
    bundle.text("status.txt", overview::tree(cluster, &rows).text);
    match place.client.apiserver_version().await {
        Ok(version) => bundle.text(
            "versions.txt",
            format!("Kubernetes {}\nkubectl-wsc {}\n", version.git_version, env!("CARGO_PKG_VERSION")),
        ),
        Err(error) => bundle.problem(format!("version of the API server: {error}")),
    }
}

async fn children(place: &Place, cluster: &WscCluster, bundle: &mut Bundle) {
    let selector = ListParams::default().labels(&format!("{}={}", labels::CLUSTER, names::cluster(cluster)));
    for (group, version, kind, plural) in KINDS {
        let resource =
            ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
        let api: Api<DynamicObject> = Api::namespaced_with(place.client.clone(), &place.namespace, &resource);
        match api.list(&selector).await {
            Ok(list) if list.items.is_empty() => {}
            Ok(list) => add_list(bundle, &format!("children/{plural}.yaml"), &list.items),
            // An optional kind that is not installed.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => bundle.problem(refusal(plural, error)),
        }
    }
    match place.api::<Pod>().list(&selector).await {
        Ok(list) => add_list(bundle, "pods.yaml", &list.items),
        Err(error) => bundle.problem(refusal("pods", error)),
    }
}

fn add_list<T: serde::Serialize>(bundle: &mut Bundle, path: &str, items: &[T]) {
    match serde_json::to_value(items) {
        Ok(objects) => bundle.object(path, objects),
        Err(error) => bundle.problem(format!("{path}: {error}")),
    }
}

fn refusal(what: impl Display, error: kube::Error) -> String {
    KubectlError::api(format!("reading {what}"))(error).to_string()
}

/// Events about the resource or anything whose name begins with its own.
async fn events(place: &Place, cluster: &WscCluster, bundle: &mut Bundle) {
    let resource =
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("events.k8s.io", "v1", "Event"), "events");
    let api: Api<DynamicObject> = Api::namespaced_with(place.client.clone(), &place.namespace, &resource);
    let list = match api.list(&ListParams::default()).await {
        Ok(list) => list,
        Err(error) => return bundle.problem(refusal("events", error)),
    };
    let name = names::cluster(cluster);
    let mut lines: Vec<String> = list
        .items
        .iter()
        .filter(|event| {
            let about = event.data["regarding"]["name"].as_str().unwrap_or_default();
            about == name || about.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'))
        })
        .map(|event| {
            let data = &event.data;
            let at =
                [&data["series"]["lastObservedTime"], &data["eventTime"], &data["deprecatedLastTimestamp"]]
                    .iter()
                    .find_map(|time| time.as_str().map(str::to_owned))
                    .unwrap_or_default();
            let part = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            format!(
                "{at} {} {}/{} {}: {}",
                part(&data["type"]),
                part(&data["regarding"]["kind"]),
                part(&data["regarding"]["name"]),
                part(&data["reason"]),
                part(&data["note"])
            )
        })
        .collect();
    lines.sort();
    bundle.text("events.txt", lines.join("\n") + "\n");
}

async fn hubs(place: &Place, cluster: &WscCluster, bundle: &mut Bundle) {
    let (pods, key) = match (place.hub_pods(cluster).await, place.api_key(cluster, true).await) {
        (Ok(pods), Ok(key)) => (pods, key),
        (Err(error), _) | (_, Err(error)) => return bundle.problem(error.to_string()),
    };
    let door = HubDoor::new(place.api(), key);
    for pod in pods.iter().map(kube::ResourceExt::name_any) {
        for (page, file) in HUB_PAGES {
            match door.text(&pod, Method::GET, page, None).await {
                Ok(text) => bundle.text(format!("hubs/{pod}/{file}"), text),
                Err(error) => {
                    bundle.problem(format!("{page} of {error}"));
                    // A pod that is silent would cost its time limit for each page.
                    if matches!(error, KubectlError::Silent { .. }) {
                        break;
                    }
                }
            }
        }
    }
}

async fn logs(place: &Place, cluster: &WscCluster, arguments: &ReportArguments, bundle: &mut Bundle) {
    let ours = format!("{}={}", labels::CLUSTER, names::cluster(cluster));
    logs_of(&place.client, &place.namespace, &ours, arguments.tail, "logs", bundle).await;
    let operator = "app.kubernetes.io/name=wsc-operator";
    logs_of(&place.client, &arguments.operator_namespace, operator, arguments.tail, "operator", bundle).await;
}

async fn logs_of(
    client: &Client,
    namespace: &str,
    selector: &str,
    tail: i64,
    folder: &str,
    bundle: &mut Bundle,
) {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pods = match api.list(&ListParams::default().labels(selector)).await {
        Ok(pods) => pods.items,
        Err(error) => return bundle.problem(refusal(format!("pods in namespace {namespace}"), error)),
    };
    for pod in pods {
        let name = pod.name_any();
        let statuses = pod.status.and_then(|status| status.container_statuses).unwrap_or_default();
        for container in statuses {
            let again = container.restart_count > 0;
            for previous in [false, true].into_iter().filter(|previous| !previous || again) {
                let wanted = LogParams {
                    container: Some(container.name.clone()),
                    tail_lines: Some(tail),
                    previous,
                    timestamps: true,
                    ..LogParams::default()
                };
                let life = if previous { "-previous" } else { "" };
                match api.logs(&name, &wanted).await {
                    Ok(text) => bundle.text(format!("{folder}/{name}-{}{life}.log", container.name), text),
                    Err(error) => bundle.problem(refusal(format!("the log of {name}{life}"), error)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::secret_names;
    use crate::api::WscCluster;

    #[test]
    fn every_secret_that_the_resource_names_is_found() {
        let cluster = |redis: serde_json::Value| -> WscCluster {
            serde_json::from_value(json!({
                "apiVersion": "wsc.dev/v1alpha1", "kind": "WscCluster", "metadata": {"name": "chat"},
                "spec": {"redis": redis, "hub": {"auth": {"keysSecretRef": {"name": "mine"}}}}
            }))
            .unwrap()
        };
        assert_eq!(secret_names(&cluster(json!({"managed": {}}))), ["chat-api", "chat-redis", "mine"]);
        let external = json!({"external": {
            "addresses": ["r:6379"], "authSecretRef": {"name": "login"},
            "tls": {"enabled": true, "caSecretRef": {"name": "ca"}, "clientCertSecretRef": {"name": "cert"}}
        }});
        assert_eq!(secret_names(&cluster(external)), ["ca", "cert", "chat-api", "login", "mine"]);
    }
}
