//! What Prometheus gets: objects of the prometheus-operator that its own definitions accept, and expressions that parse
//! and name only metrics which are there.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result};
use promql_parser::parser::{self, Expr};
use serde_json::{Value, json};
use wsc_tests::{
    hub_fleet::HubFleet,
    kubernetes::{
        go_module::{self, PROMETHEUS_OPERATOR},
        namespace::TestNamespace,
        operator_process::OperatorProcess,
        resource::{POD_MONITOR, PROMETHEUS_RULE, Resource, STATEFUL_SET},
        wsc_cluster::TestCluster,
    },
    metrics_reference::MetricsReference,
    scrape::Scrape,
    source_tree,
    wait::{Look, eventually},
};

use crate::stage::{SOON, namespace, smallest};

/// Longer than the resync of these operators, at which they look what is served.
const NOTICED: Duration = Duration::from_secs(30);

/// Installs definitions from a folder of a Go module.
pub(crate) async fn install(ns: &TestNamespace, module: &str, folder: &str, names: &[&str]) -> Result<()> {
    let folder = go_module::folder(module)?.join(folder);
    for name in names {
        let file = folder.join(format!("{name}.yaml"));
        // Client-side apply would keep a copy of the definition in an annotation, for which they are too long.
        ns.kubectl.run(&["apply", "--server-side", "-f", &file.to_string_lossy()]).await?;
    }
    Ok(())
}

/// Waits until the API server answers for a kind.
pub(crate) async fn served(ns: &TestNamespace, resource: Resource) -> Result<()> {
    eventually(&format!("{} is served", resource.kind), SOON, async || {
        let path = resource.path(&ns.name, "");
        Ok(match ns.kubectl.run(&["get", "--raw", &path]).await {
            Ok(_) => Look::Holds(()),
            Err(error) => Look::NotYet(error.to_string()),
        })
    })
    .await
}

#[tokio::test]
async fn prometheus_objects_come_with_their_definitions_and_every_expression_holds() -> Result<()> {
    let ns = namespace("monitoring").await?;
    let operator = OperatorProcess::start_with(&ns, &[("WSC_RESYNC", "10s")]).await?;
    let mut spec = smallest();
    spec["monitoring"] = json!({"interval": "1m30s", "labels": {"release": "prometheus"}});
    let cluster = TestCluster::create(&ns, "chat", &spec).await?;
    ns.until(STATEFUL_SET, "chat", "the pods are described without any of it", SOON, |_| true).await?;

    let names = ["monitoring.coreos.com_podmonitors", "monitoring.coreos.com_prometheusrules"];
    install(&ns, PROMETHEUS_OPERATOR, "example/prometheus-operator-crd", &names).await?;
    let monitor = ns.until(POD_MONITOR, "chat", "a PodMonitor is made", NOTICED, |_| true).await?;
    let endpoint = &monitor["spec"]["podMetricsEndpoints"][0];
    assert_eq!((&endpoint["port"], &endpoint["interval"]), (&json!("api"), &json!("90s")), "{monitor}");
    assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
    assert_eq!(monitor["metadata"]["ownerReferences"][0]["name"], "chat");
    let set = ns.get(STATEFUL_SET, "chat").await?;
    let labels = &set["spec"]["template"]["metadata"]["labels"];
    for (name, value) in monitor["spec"]["selector"]["matchLabels"].as_object().into_iter().flatten() {
        assert_eq!(&labels[name], value, "the PodMonitor selects no pod: {labels}");
    }
    let rule = ns.until(PROMETHEUS_RULE, "chat", "rules are made", NOTICED, |_| true).await?;
    check_expressions(&ns, &operator, &rule).await?;

    // Kept as other children are: edits and deletions are undone.
    ns.merge(POD_MONITOR, "chat", &json!({"spec": {"podTargetLabels": ["app"]}})).await?;
    ns.until(POD_MONITOR, "chat", "the edit is undone", SOON, |monitor| {
        monitor["spec"]["podTargetLabels"] == json!(["wsc.dev/cluster"])
    })
    .await?;
    let uid = rule["metadata"]["uid"].clone();
    ns.delete(PROMETHEUS_RULE, "chat").await?;
    ns.until(PROMETHEUS_RULE, "chat", "the rules are back", SOON, |rule| rule["metadata"]["uid"] != uid)
        .await?;

    cluster.change(&json!({"monitoring": {"mode": "Disabled"}})).await?;
    ns.gone(POD_MONITOR, "chat", SOON).await?;
    ns.gone(PROMETHEUS_RULE, "chat", SOON).await?;
    Ok(())
}

/// Every expression of the rules and of the dashboard parses, and what it reads is in `/metrics` of a hub with Redis or of
/// the operator.
async fn check_expressions(ns: &TestNamespace, operator: &OperatorProcess, rule: &Value) -> Result<()> {
    let hubs = HubFleet::start(1).await?;
    let scraped = Scrape::of(&hubs.api(0)?).await?.text + &operator.get("/metrics").await?.1;
    assert_eq!(MetricsReference::read()?.differences(&scraped), Vec::<String>::new());
    let known = metric_names(&scraped);
    assert!(known.contains("wsc_registered") && known.contains("wsc_operator_leader"), "{known:?}");

    let mut expressions = Vec::new();
    for rule in rule["spec"]["groups"][0]["rules"].as_array().context("no rules")? {
        expressions.push(rule["expr"].as_str().context("a rule without expression")?.to_owned());
        let during = rule["for"].as_str().unwrap_or_default();
        assert!(during.ends_with(['s', 'm', 'h']), "{rule}");
    }
    assert!(
        expressions.len() >= 10 && expressions.iter().all(|one| one.contains(&ns.name)),
        "{expressions:?}"
    );
    let file = source_tree::root().join("charts/wsc-operator/files/grafana-dashboard.json");
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(&file)?)?;
    let before = expressions.len();
    collect(&dashboard, &mut expressions);
    assert!(expressions.len() >= before + 15, "the dashboard has {} expressions", expressions.len() - before);

    expressions_hold(&expressions, &known)?;
    // A wrong name would be found.
    let mut read = BTreeSet::new();
    selectors(&parser::parse("rate(wsc_no_such_thing_total[5m])").map_err(anyhow::Error::msg)?, &mut read);
    assert!(read.iter().all(|name| !known.contains(name)) && read.len() == 1, "{read:?}");
    Ok(())
}

/// Every expression parses, and reads something that is known.
pub(crate) fn expressions_hold(expressions: &[String], known: &BTreeSet<String>) -> Result<()> {
    for expression in expressions {
        // What Grafana fills in before it asks.
        let text = expression.replace("$__rate_interval", "5m").replace("$__range", "1h");
        let parsed = parser::parse(&text).map_err(|error| anyhow::anyhow!("{expression}: {error}"))?;
        let mut read = BTreeSet::new();
        selectors(&parsed, &mut read);
        assert!(!read.is_empty(), "{expression} reads nothing");
        for name in read {
            // Prometheus makes this one itself.
            assert!(name == "up" || known.contains(&name), "{expression} reads {name}, which nobody exports");
        }
    }
    Ok(())
}

/// Names of samples: those that are there, and those of counters and histograms that have not counted yet.
pub(crate) fn metric_names(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for line in text.lines() {
        if let Some(described) = line.strip_prefix("# TYPE ") {
            let mut words = described.split(' ');
            let (name, kind) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            match kind {
                "counter" => _ = names.insert(format!("{name}_total")),
                "histogram" => {
                    names.extend(["_bucket", "_sum", "_count"].map(|ending| format!("{name}{ending}")));
                }
                "gauge" => _ = names.insert(name.to_owned()),
                _ => {}
            }
        } else if !line.starts_with('#') {
            names.insert(line.split(['{', ' ']).next().unwrap_or_default().to_owned());
        }
    }
    names
}

/// Every `expr` of a dashboard or of rules, and the queries of its variables.
pub(crate) fn collect(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(expression) = fields.get("expr").and_then(Value::as_str) {
                found.push(expression.to_owned());
            }
            fields.values().for_each(|value| collect(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, found)),
        _ => {}
    }
}

/// Names of the metrics that an expression reads.
fn selectors(expression: &Expr, found: &mut BTreeSet<String>) {
    match expression {
        Expr::VectorSelector(selector) => found.extend(selector.name.clone()),
        Expr::MatrixSelector(selector) => found.extend(selector.vs.name.clone()),
        Expr::Aggregate(aggregate) => selectors(&aggregate.expr, found),
        Expr::Unary(unary) => selectors(&unary.expr, found),
        Expr::Binary(binary) => {
            selectors(&binary.lhs, found);
            selectors(&binary.rhs, found);
        }
        Expr::Paren(paren) => selectors(&paren.expr, found),
        Expr::Subquery(subquery) => selectors(&subquery.expr, found),
        Expr::Call(call) => call.args.args.iter().for_each(|argument| selectors(argument, found)),
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {}
    }
}
