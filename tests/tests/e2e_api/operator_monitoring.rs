//! What Prometheus gets about the operator itself, from its chart.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use wsc_tests::{
    kubernetes::{
        go_module::PROMETHEUS_OPERATOR,
        kubectl::Kubectl,
        operator_process::OperatorProcess,
        resource::{POD_MONITOR, PROMETHEUS_RULE},
        wsc_cluster::TestCluster,
    },
    source_tree,
    wait::{Look, eventually},
};

use crate::{
    monitoring::{collect, expressions_hold, install, metric_names, served},
    stage::{SOON, namespace, smallest},
};

#[tokio::test]
async fn the_charts_monitor_finds_the_operator_and_its_alerts_read_what_the_operator_exports() -> Result<()> {
    let ns = namespace("operator-monitoring").await?;
    let names = ["monitoring.coreos.com_podmonitors", "monitoring.coreos.com_prometheusrules"];
    install(&ns, PROMETHEUS_OPERATOR, "example/prometheus-operator-crd", &names).await?;
    served(&ns, POD_MONITOR).await?;
    served(&ns, PROMETHEUS_RULE).await?;

    let chart = source_tree::root().join("charts/wsc-operator");
    let chart = chart.to_string_lossy();
    let helm = Kubectl::helm(&ns.access, &ns.name)?;
    let settings =
        ["--set", "monitoring.enabled=true,monitoring.labels.release=prometheus,monitoring.interval=1m"];
    for template in ["podmonitor", "prometheusrule", "deployment"] {
        let only = format!("templates/{template}.yaml");
        let mut arguments = vec!["template", "tower", &chart, "--show-only", &only];
        arguments.extend(settings);
        let rendered = helm.run(&arguments).await?;
        // No field that the definitions do not know.
        ns.kubectl.run_with(&["apply", "--server-side", "--validate=strict", "-f", "-"], &rendered).await?;
    }

    let monitor = ns.get(POD_MONITOR, "tower-wsc-operator").await?;
    assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
    let deployment: Value = serde_json::from_str(
        &ns.kubectl.run(&["get", "deployment", "tower-wsc-operator", "-o", "json"]).await?,
    )?;
    let template = &deployment["spec"]["template"];
    let selector = monitor["spec"]["selector"]["matchLabels"].as_object().context("no selector")?;
    assert!(!selector.is_empty());
    for (name, value) in selector {
        assert_eq!(&template["metadata"]["labels"][name], value, "the PodMonitor selects no pod");
    }
    let endpoint = &monitor["spec"]["podMetricsEndpoints"][0];
    let ports = template["spec"]["containers"][0]["ports"].as_array().context("no ports")?;
    assert!(ports.iter().any(|port| port["name"] == endpoint["port"]), "{endpoint} of {ports:?}");
    assert_eq!((&endpoint["path"], &endpoint["interval"]), (&json!("/metrics"), &json!("1m")));

    // An operator that has work, so that what it counts is there.
    let operator = OperatorProcess::start(&ns).await?;
    TestCluster::create(&ns, "chat", &smallest()).await?;
    let known = eventually("it counts what it applied", SOON, async || {
        let known = metric_names(&operator.get("/metrics").await?.1);
        Ok(Look::when(
            known.contains("wsc_operator_objects_applied_total"),
            known.clone(),
            format!("{known:?}"),
        ))
    })
    .await?;
    let rule = ns.get(PROMETHEUS_RULE, "tower-wsc-operator").await?;
    let mut expressions = Vec::new();
    collect(&rule["spec"], &mut expressions);
    assert!(expressions.len() >= 8, "{expressions:?}");
    expressions_hold(&expressions, &known)?;
    // Samples of this PodMonitor, by the label that Prometheus gives them, and of no other operator.
    let job = format!("job=\"{}/tower-wsc-operator\"", ns.name);
    for expression in &expressions {
        let selectors = expression.matches('{').count();
        assert_eq!(expression.matches(&job).count(), selectors, "{expression}");
    }
    for rule in rule["spec"]["groups"][0]["rules"].as_array().context("no rules")? {
        let said = &rule["annotations"];
        assert!(said["summary"].is_string() && said["description"].is_string(), "{rule}");
        assert!(["warning", "critical"].iter().any(|level| rule["labels"]["severity"] == *level), "{rule}");
    }
    Ok(())
}
