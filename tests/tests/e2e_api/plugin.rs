//! `kubectl wsc` where no pod runs: what it shows, orders, mints, reports, and how it refuses.

use anyhow::{Context as _, Result};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};
use wsc_tests::{
    kubernetes::{
        namespace::TestNamespace,
        plugin::{Plugin, unpack},
        resource::{EVENT, SECRET, WSC_CLUSTER},
        wsc_cluster::TestCluster,
    },
    scratch_dir::ScratchDir,
    wait::{Look, eventually},
};

use crate::{
    children::all_made,
    stage::{SOON, namespace, smallest, with_operator},
};

fn plugin(ns: &TestNamespace) -> Result<(Plugin, ScratchDir)> {
    let folder = ScratchDir::new("plugin")?;
    Ok((Plugin::new(ns, folder.path())?, folder))
}

#[tokio::test]
async fn status_is_a_tree_that_ends_with_what_to_do_next() -> Result<()> {
    let (ns, _operator) = with_operator("plugin").await?;
    let (plugin, _folder) = plugin(&ns)?;
    let cluster = TestCluster::create(&ns, "chat", &smallest()).await?;
    all_made(&ns).await?;
    cluster.until("Ready", "False", SOON).await?;
    let text = plugin.run(&["status", "chat"]).await?;
    for part in [
        format!("{}/chat", ns.name),
        "├─ Nodes        3 desired, 0 ready".to_owned(),
        "├─ Connections  0 of 0".to_owned(),
        format!("ws://chat.{}.svc:80/ws", ns.name),
        "└─ Conditions\n   ├─ Ready              False".to_owned(),
        "\nNext: ".to_owned(),
    ] {
        assert!(text.contains(&part), "{part} is missing in\n{text}");
    }
    let answer = plugin.json(&["status", "chat"]).await?;
    assert_eq!((&answer["name"], &answer["desiredReplicas"]), (&json!("chat"), &json!(3)));
    assert_eq!(answer["observedGeneration"], answer["generation"]);
    assert!(answer["next"].as_str().is_some_and(|next| next.contains("Ready")), "{answer}");
    // Without a name every cluster of the namespace is shown.
    let all = plugin.json(&["status"]).await?;
    assert_eq!((all.as_array().map(Vec::len), &all[0]["name"]), (Some(1), &json!("chat")));
    // The pods exist and wait for a machine; that is why the nodes say nothing.
    let nodes = plugin.json(&["nodes"]).await?;
    assert_eq!(
        (&nodes["nodes"][0]["name"], &nodes["nodes"][0]["pod"]),
        (&json!("chat-0"), &json!("Pending"))
    );
    let why = nodes["nodes"][0]["silent"].as_str().unwrap_or_default();
    assert!(why.contains("does not have a host assigned"), "{nodes}");
    // The operator stands still: then that is what is to be done about.
    ns.merge(WSC_CLUSTER, "chat", &json!({"metadata": {"annotations": {"wsc.dev/reconcile": "disabled"}}}))
        .await?;
    assert!(plugin.run(&["status"]).await?.contains("Next: the operator only looks on"));
    Ok(())
}

#[tokio::test]
async fn a_minted_token_is_signed_by_the_clusters_own_key() -> Result<()> {
    let (ns, _operator) = with_operator("plugin").await?;
    let (plugin, _folder) = plugin(&ns)?;
    TestCluster::create(&ns, "chat", &smallest()).await?;
    all_made(&ns).await?;
    let line = ["token", "alice", "--ttl", "5m", "--send", "user:*", "--group", "room-1", "--join", "room-*"];
    let token = plugin.run(&line).await?;
    let key = ns.secret("chat-auth", "default.key").await?;
    let key = DecodingKey::from_secret(key.trim().as_bytes());
    let token = jsonwebtoken::decode::<Value>(token.trim(), &key, &Validation::new(Algorithm::HS256))?;
    assert_eq!(token.claims["sub"], "alice");
    assert_eq!(token.claims["wsc"], json!({"groups": ["room-1"], "send": ["user:*"], "join": ["room-*"]}));
    let left = token.claims["exp"].as_i64().unwrap_or(0) - wsc_tests::tokens::unix_now();
    assert!((240..=300).contains(&left), "{left} s");
    let (code, said) = plugin.refused(&["token", "a/b"]).await?;
    assert!(code == 64 && said.contains("cannot be a user"), "{code} {said}");
    Ok(())
}

#[tokio::test]
async fn restart_and_rebalance_are_ordered_by_annotations() -> Result<()> {
    let ns = namespace("plugin").await?;
    let (plugin, _folder) = plugin(&ns)?;
    let cluster = TestCluster::create(&ns, "chat", &smallest()).await?;
    assert!(plugin.run(&["restart"]).await?.contains("kubectl wsc status chat"));
    let answer = plugin.json(&["rebalance", "chat", "--id", "night-1"]).await?;
    assert_eq!((&answer["value"], &answer["waits"]), (&json!("night-1"), &Value::Null));
    let annotations = cluster.object().await?["metadata"]["annotations"].clone();
    assert_eq!(annotations["wsc.dev/rebalance"], "night-1");
    assert!(annotations["wsc.dev/restart"].as_str().is_some_and(|time| time.contains('T')), "{annotations}");
    let (_, said) = plugin.refused(&["rebalance", "chat", "--id", "night-1"]).await?;
    assert!(said.contains("was ordered before"), "{said}");
    cluster.change(&json!({"paused": true})).await?;
    assert!(plugin.run(&["restart"]).await?.contains("it waits: spec.paused is true"));
    Ok(())
}

/// Every value of every Secret of the namespace, as it is and as Kubernetes encodes it.
async fn secret_values(ns: &TestNamespace) -> Result<Vec<String>> {
    let mut values = Vec::new();
    for secret in ns.list(SECRET).await? {
        for value in secret["data"].as_object().into_iter().flatten().map(|(_, value)| value) {
            let encoded = value.as_str().context("an entry that is no text")?;
            values.push(encoded.to_owned());
            values.push(String::from_utf8(STANDARD.decode(encoded)?)?.trim().to_owned());
        }
    }
    Ok(values)
}

#[tokio::test]
async fn a_report_holds_everything_but_secrets() -> Result<()> {
    let (ns, _operator) = with_operator("plugin").await?;
    let (plugin, folder) = plugin(&ns)?;
    let mut spec = smallest();
    spec["hub"] = json!({"env": [{"name": "MY_PASSWORD", "value": "a-password-in-a-variable"}]});
    let manifest = json!({
        "apiVersion": "wsc.dev/v1alpha1", "kind": "WscCluster", "metadata": {"name": "chat"}, "spec": spec
    });
    // By kubectl, which keeps a copy of the whole object in an annotation.
    ns.kubectl.run_with(&["apply", "-f", "-"], &manifest.to_string()).await?;
    all_made(&ns).await?;
    // The operator tells of the resource after its children are made.
    eventually("an event about the resource", SOON, async || {
        let events = ns.list(EVENT).await?;
        let told = events.iter().any(|event| event["regarding"]["kind"] == "WscCluster");
        Ok(Look::when(told, (), format!("{} events", events.len())))
    })
    .await?;
    // A key that got where it does not belong.
    let key = ns.secret("chat-api", "admin").await?;
    ns.merge(WSC_CLUSTER, "chat", &json!({"metadata": {"annotations": {"note": format!("key={key}")}}}))
        .await?;
    let answer = plugin.json(&["report", "chat", "--file", "bundle.tar.gz"]).await?;
    assert_eq!(answer["file"], "bundle.tar.gz");
    let files = unpack(&folder.path().join("bundle.tar.gz"))?;
    let text = |path: &str| {
        let found = files.iter().find(|(name, _)| name == path).map(|(_, text)| text.as_str());
        found.with_context(|| {
            format!("no {path} among {:?}", files.iter().map(|(name, _)| name).collect::<Vec<_>>())
        })
    };
    assert!(text("wsccluster.yaml")?.contains("note: key=[redacted]"), "{}", text("wsccluster.yaml")?);
    assert!(text("children/statefulsets.yaml")?.contains("name: chat-redis"));
    for path in
        ["children/services.yaml", "children/networkpolicies.yaml", "children/poddisruptionbudgets.yaml"]
    {
        assert!(text(path)?.contains("name: chat"), "{path}");
    }
    assert!(text("status.txt")?.contains("Next: "));
    assert!(text("versions.txt")?.contains("Kubernetes v1."));
    let outline = text("secrets.yaml")?;
    assert!(outline.contains("chat-auth") && outline.contains("default.key: 64"), "{outline}");
    assert!(text("events.txt")?.contains("WscCluster/chat"), "{}", text("events.txt")?);
    let values = secret_values(&ns).await?;
    assert!(values.len() >= 8, "{} values", values.len());
    for (path, text) in &files {
        for value in values.iter().map(String::as_str).chain(["a-password-in-a-variable"]) {
            assert!(!text.contains(value), "{path} holds a secret");
        }
    }
    // An older bundle is never overwritten.
    let (_, said) = plugin.refused(&["report", "chat", "--file", "bundle.tar.gz"]).await?;
    assert!(said.contains("cannot write bundle.tar.gz"), "{said}");
    Ok(())
}

#[tokio::test]
async fn refusals_name_what_would_help() -> Result<()> {
    let ns = namespace("plugin").await?;
    let (plugin, folder) = plugin(&ns)?;
    let (_, said) = plugin.refused(&["status"]).await?;
    assert!(said.contains(&format!("no WscCluster in namespace {}", ns.name)), "{said}");
    TestCluster::create(&ns, "chat", &smallest()).await?;
    TestCluster::create(&ns, "news", &smallest()).await?;
    for (line, says) in [
        (vec!["status", "chta"], "there is no WscCluster chta"),
        (vec!["nodes", "chta"], "it has: chat, news"),
        (vec!["restart"], "name one of them: chat, news"),
        (vec!["user", "alice", "-c", "chat"], "there is no Secret chat-api"),
        (vec!["token", "alice", "-c", "chat"], "there is no Secret chat-auth"),
        (vec!["drain", "chat-0"], "there is no pod chat-0"),
        (vec!["status", "chat", "--context", "nowhere"], "no Kubernetes cluster"),
    ] {
        let (code, text) = plugin.refused(&line).await?;
        assert!(code == 1 && text.contains(says), "{line:?}: {code} {text}");
    }
    let (code, said) = plugin.refused(&["drain"]).await?;
    assert!(code == 64 && said.contains("Usage: kubectl wsc drain"), "{code} {said}");

    // Somebody without any right: the default account of the namespace.
    let token = ns.kubectl.run(&["create", "token", "default"]).await?;
    let stranger = folder.path().join("stranger");
    let admin = ns.access.kubeconfig.as_ref().context("no kubeconfig")?;
    std::fs::write(&stranger, as_account(&std::fs::read_to_string(admin)?, token.trim())?)?;
    let (code, said) = plugin.with_kubeconfig(&stranger).refused(&["status", "chat"]).await?;
    assert!(
        code == 1 && said.contains("you may not do this") && said.contains("cannot get resource"),
        "{said}"
    );
    Ok(())
}

/// A kubeconfig for the same server with a token instead of a certificate.
pub(crate) fn as_account(kubeconfig: &str, token: &str) -> Result<String> {
    let mut config: Value = serde_yaml::from_str(kubeconfig)?;
    let user = config["users"][0]["user"].as_object_mut().context("a kubeconfig without user")?;
    user.clear();
    user.insert("token".to_owned(), json!(token));
    Ok(serde_yaml::to_string(&config)?)
}

#[tokio::test]
async fn kubectl_completes_commands_clusters_and_flags() -> Result<()> {
    let ns = namespace("plugin").await?;
    let (plugin, folder) = plugin(&ns)?;
    TestCluster::create(&ns, "chat", &smallest()).await?;
    let script = String::from_utf8(plugin.kubectl(&["wsc", "completion", "kubectl"]).await?.stdout)?;
    let file = folder.path().join("kubectl_complete-wsc");
    std::fs::write(&file, script)?;
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    for (words, offered, not) in [
        (vec!["wsc", ""], "rebalance", "__complete"),
        (vec!["wsc", "st"], "status", "rebalance"),
        (vec!["wsc", "-n", &ns.name, "status", ""], "chat", "rebalance"),
        (vec!["wsc", "-n", &ns.name, "report", "c"], "chat", "rebalance"),
        (vec!["wsc", "drain", "chat-0", "--ra"], "--rate", "--force"),
    ] {
        let mut line = vec!["__complete"];
        line.extend(&words);
        let output = plugin.kubectl(&line).await?;
        let text = String::from_utf8(output.stdout)?;
        let said = String::from_utf8_lossy(&output.stderr);
        let found: Vec<&str> = text.lines().collect();
        assert!(found.contains(&offered) && !found.contains(&not), "{words:?}: {text}{said}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = String::from_utf8(plugin.kubectl(&["wsc", "completion", shell]).await?.stdout)?;
        assert!(script.contains("kubectl-wsc") && script.contains("rebalance"), "{shell}");
    }
    Ok(())
}
