//! The sample configuration for plain nginx, in front of three hubs.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;
use wsc_tests::{
    child_process::ChildProcess,
    hub_fleet::HubFleet,
    program,
    scratch_dir::ScratchDir,
    source_tree,
    wait::{Look, eventually},
    ws_client::{PATIENCE, WsClient, WsRequest},
};

/// nginx with the sample, whose addresses are replaced by those of the hubs.
struct Nginx {
    _process: ChildProcess,
    _folder: ScratchDir,
    address: SocketAddr,
}

impl Nginx {
    async fn start(hubs: &[SocketAddr]) -> Result<Self> {
        let program = program::installed("nginx", "nginx-light")?;
        let sample = source_tree::root().join("manifests/samples/nginx.conf");
        let mut config = std::fs::read_to_string(&sample)?;
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        for (number, hub) in hubs.iter().enumerate() {
            let placeholder = format!("10.0.0.{}:8080", 11 + number);
            ensure!(config.contains(&placeholder), "the sample has no {placeholder}");
            config = config.replace(&placeholder, &hub.to_string());
        }
        ensure!(config.contains("listen 80;"), "the sample listens elsewhere");
        // Clients of this test stand for many: they say who they are, since all come from loopback.
        config = config.replace(
            "listen 80;",
            &format!("listen {address};\n    set_real_ip_from 127.0.0.1;\n    real_ip_header X-Test-Client;"),
        );
        let folder = ScratchDir::new("nginx")?;
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {}/{kind};", folder.path().display()))
            .join("\n");
        let whole = format!(
            "daemon off;\nworker_processes 1;\npid {0}/pid;\nerror_log stderr warn;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}\n{config}\n}}\n",
            folder.path().display()
        );
        let file = folder.write("nginx.conf", &whole)?;
        let mut command = Command::new(program);
        command.arg("-c").arg(&file).arg("-p").arg(folder.path()).args(["-e", "stderr"]);
        let process = ChildProcess::spawn("nginx", command)?;
        let listening = eventually("nginx listens", PATIENCE, async || {
            Ok(match tokio::net::TcpStream::connect(address).await {
                Ok(_) => Look::Holds(()),
                Err(error) => Look::NotYet(error.to_string()),
            })
        });
        listening.await.map_err(|error| error.context(process.output()))?;
        Ok(Self { _process: process, _folder: folder, address })
    }

    /// Connects a user whose machine has this address.
    async fn connect(&self, user: &str, from: &str) -> Result<WsClient> {
        WsClient::connect(self.address, &WsRequest::user(user).header("X-Test-Client", from)).await
    }
}

#[tokio::test]
async fn nginx_keeps_a_client_to_one_hub_and_moves_it_when_that_dies() -> Result<()> {
    let mut fleet = HubFleet::start(3).await?;
    let addresses: Vec<SocketAddr> = fleet.hubs.iter().map(|hub| hub.client).collect();
    let nginx = Nginx::start(&addresses).await?;

    // Machines of different networks are spread, and each stays where it is.
    let mut homes = Vec::new();
    for network in 1..=24 {
        let from = format!("198.51.{network}.7");
        let first = nginx.connect(&format!("user-{network}"), &from).await?;
        let second = nginx.connect(&format!("user-{network}"), &from).await?;
        assert_eq!(first.node(), second.node(), "{from}");
        homes.push((from, first.node().to_owned()));
    }
    for hub in ["node-0", "node-1", "node-2"] {
        assert!(homes.iter().any(|(_, home)| home == hub), "nobody is on {hub}: {homes:?}");
    }

    // Messages find a user on another hub, both ways through nginx.
    let at = |hub: &str| {
        homes.iter().find(|(_, home)| home == hub).map(|(from, _)| from.clone()).context("nobody")
    };
    let mut alice = nginx.connect("alice", &at("node-0")?).await?;
    let mut bob = nginx.connect("bob", &at("node-1")?).await?;
    assert_eq!(alice.send_to("bob", "across").await?, "delivered");
    bob.expect_text("across").await?;

    // A hub dies: its clients are led to the others, and those of the others stay.
    let of_the_dead = at("node-1")?;
    fleet.hubs[1].kill().await?;
    let moved =
        eventually("a client of the dead hub is led elsewhere", Duration::from_secs(15), async || {
            Ok(match nginx.connect("bob", &of_the_dead).await {
                Ok(client) => Look::Holds(client),
                Err(error) => Look::NotYet(error.to_string()),
            })
        })
        .await?;
    assert_ne!(moved.node(), "node-1");
    assert_eq!(nginx.connect("carol", &at("node-2")?).await?.node(), "node-2");
    Ok(())
}
