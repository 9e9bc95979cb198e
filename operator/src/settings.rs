//! Settings of the operator: flags and variables, validated all at once and without side effects.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;

/// Exit code for bad settings (`EX_USAGE` of sysexits).
pub const EXIT_USAGE: u8 = 64;

/// The raw command line. Everything is text here, so that every mistake can be named at once.
#[derive(Debug, Parser)]
#[command(
    name = "wsc-operator",
    version,
    about = "Runs WebSocket hubs on Kubernetes from one resource, WscCluster.",
    after_help = "Every flag can be given by its variable. The connection to Kubernetes comes from \
                  the pod's service account, or outside a cluster from KUBECONFIG or ~/.kube/config.\n\
                  Exit codes: 0 after SIGTERM, 64 bad settings, 1 anything else."
)]
pub struct Arguments {
    /// Namespace the operator runs in; holds its lease. Also read from POD_NAMESPACE
    #[arg(long, env = "WSC_OPERATOR_NAMESPACE", default_value = "", hide_default_value = true)]
    operator_namespace: String,
    /// Comma list of namespaces to watch; empty = all. A list needs no cluster-wide rights
    #[arg(long, env = "WSC_WATCH_NAMESPACES", default_value = "", hide_default_value = true)]
    watch_namespaces: String,
    /// Hub image for resources that name none, as repository:tag or repository@digest
    #[arg(long, env = "WSC_HUB_IMAGE", default_value = concat!("wsc-hub:", env!("CARGO_PKG_VERSION")))]
    hub_image: String,
    /// Image of managed Redis for resources that name none
    #[arg(long, env = "WSC_REDIS_IMAGE", default_value = "redis:7.2")]
    redis_image: String,
    /// Address of /metrics, /healthz and /readyz
    #[arg(long, env = "WSC_LISTEN", default_value = "0.0.0.0:8080")]
    listen: String,
    /// Elect a leader, so that several replicas may run: true or false
    #[arg(long, env = "WSC_LEADER_ELECT", default_value = "true")]
    leader_elect: String,
    /// Name of the lease object
    #[arg(long, env = "WSC_LEASE_NAME", default_value = "wsc-operator")]
    lease_name: String,
    /// Name of this replica in the lease and in events; default: POD_NAME, else the host name
    #[arg(long, env = "POD_NAME", default_value = "", hide_default_value = true)]
    identity: String,
    /// How often every resource is looked at again with no event, 10s to 1h
    #[arg(long, env = "WSC_RESYNC", default_value = "5m")]
    resync: String,
    /// Resources reconciled at the same time, 1 to 64
    #[arg(long, env = "WSC_CONCURRENCY", default_value = "8")]
    concurrency: String,
    /// Log level or filter: error, warn, info, debug, trace
    #[arg(long, env = "WSC_LOG", default_value = "info")]
    log: String,
    /// Log format: json or text
    #[arg(long, env = "WSC_LOG_FORMAT", default_value = "json")]
    log_format: String,
}

/// What the operator watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watched {
    /// Every namespace; needs a ClusterRole.
    All,
    /// These namespaces only; Roles suffice and nothing cluster-scoped is read.
    Namespaces(Vec<String>),
}

/// Format of the log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Leader election.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Election {
    /// Namespace of the lease.
    pub namespace: String,
    /// Name of the lease.
    pub lease: String,
}

/// Validated settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What is watched.
    pub watched: Watched,
    /// Hub image for resources that name none.
    pub hub_image: String,
    /// Redis image for resources that name none.
    pub redis_image: String,
    /// Address of the operator's own HTTP.
    pub listen: SocketAddr,
    /// Leader election; `None` when switched off.
    pub election: Option<Election>,
    /// Name of this replica.
    pub identity: String,
    /// Pause between looks at a quiet resource.
    pub resync: Duration,
    /// Resources reconciled at the same time.
    pub concurrency: u16,
    /// Log filter.
    pub log: String,
    /// Log format.
    pub log_format: LogFormat,
}

/// Every mistake found in the settings.
#[derive(Debug, thiserror::Error)]
#[error("{} in the settings:\n  - {}", count(.0.len()), .0.join("\n  - "))]
pub struct BadSettings(pub Vec<String>);

fn count(mistakes: usize) -> String {
    if mistakes == 1 { "1 mistake".to_owned() } else { format!("{mistakes} mistakes") }
}

impl Arguments {
    /// Validates. `environment` looks up a variable; the command line has been read already.
    ///
    /// # Errors
    /// All mistakes at once.
    pub fn validate(self, environment: impl Fn(&str) -> Option<String>) -> Result<Settings, BadSettings> {
        let mut mistakes = Vec::new();
        let variable = |name: &str| environment(name).filter(|value| !value.is_empty());
        let namespace = Some(self.operator_namespace)
            .filter(|name| !name.is_empty())
            .or_else(|| variable("POD_NAMESPACE"));
        let identity = Some(self.identity)
            .filter(|name| !name.is_empty())
            .or_else(|| variable("HOSTNAME"))
            .unwrap_or_else(|| format!("wsc-operator-{}", std::process::id()));
        let leader_elect = match self.leader_elect.as_str() {
            "true" => true,
            "false" => false,
            other => {
                mistakes.push(format!("--leader-elect must be true or false, not {other:?}"));
                false
            }
        };
        let election = if leader_elect {
            match namespace {
                Some(namespace) if is_dns_label(&namespace) => {
                    Some(Election { namespace, lease: self.lease_name.clone() })
                }
                Some(namespace) => {
                    mistakes.push(format!("--operator-namespace {namespace:?} is not a namespace name"));
                    None
                }
                None => {
                    mistakes.push(
                        "--operator-namespace is needed for leader election; set it, or POD_NAMESPACE, or --leader-elect=false"
                            .to_owned(),
                    );
                    None
                }
            }
        } else {
            None
        };
        if !is_dns_name(&self.lease_name) {
            mistakes.push(format!("--lease-name {:?} is not an object name", self.lease_name));
        }
        let namespaces: Vec<String> = self
            .watch_namespaces
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
        for name in namespaces.iter().filter(|name| !is_dns_label(name)) {
            mistakes.push(format!("--watch-namespaces: {name:?} is not a namespace name"));
        }
        for (flag, image) in [("--hub-image", &self.hub_image), ("--redis-image", &self.redis_image)] {
            if image.is_empty() || image.contains(char::is_whitespace) {
                mistakes.push(format!("{flag} {image:?} is not an image reference"));
            }
        }
        let listen = self.listen.parse().unwrap_or_else(|_| {
            mistakes.push(format!("--listen {:?} is not an address like 0.0.0.0:8080", self.listen));
            SocketAddr::from(([0, 0, 0, 0], 8080))
        });
        let resync = match parse_duration(&self.resync) {
            Some(pause) if (10..=3600).contains(&pause.as_secs()) => pause,
            _ => {
                mistakes
                    .push(format!("--resync {:?} must be a duration from 10s to 1h, like 5m", self.resync));
                Duration::from_secs(300)
            }
        };
        let concurrency = match self.concurrency.parse() {
            Ok(number @ 1..=64) => number,
            _ => {
                mistakes.push(format!("--concurrency {:?} must be a number from 1 to 64", self.concurrency));
                8
            }
        };
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&self.log) {
            mistakes.push(format!("--log {:?}: {error}", self.log));
        }
        let log_format = match self.log_format.as_str() {
            "json" => LogFormat::Json,
            "text" => LogFormat::Text,
            other => {
                mistakes.push(format!("--log-format must be json or text, not {other:?}"));
                LogFormat::Json
            }
        };
        if !mistakes.is_empty() {
            return Err(BadSettings(mistakes));
        }
        Ok(Settings {
            watched: if namespaces.is_empty() { Watched::All } else { Watched::Namespaces(namespaces) },
            hub_image: self.hub_image,
            redis_image: self.redis_image,
            listen,
            election,
            identity,
            resync,
            concurrency,
            log: self.log,
            log_format,
        })
    }
}

/// Reads `90s`, `5m`, `1h`.
fn parse_duration(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = digits.parse().ok()?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    Some(Duration::from_secs(number.checked_mul(seconds)?))
}

fn is_dns_label(name: &str) -> bool {
    !name.contains('.') && name.len() <= 63 && is_dns_name(name)
}

fn is_dns_name(name: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{Arguments, Watched};

    fn parse(flags: &[&str]) -> Arguments {
        Arguments::try_parse_from(std::iter::once(&"wsc-operator").chain(flags)).unwrap()
    }

    #[test]
    fn defaults_hold_inside_a_pod() {
        let settings =
            parse(&[]).validate(|name| (name == "POD_NAMESPACE").then(|| "wsc-system".to_owned())).unwrap();
        assert_eq!(settings.watched, Watched::All);
        assert_eq!(settings.election.unwrap().namespace, "wsc-system");
        assert_eq!(settings.resync.as_secs(), 300);
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let error = parse(&[
            "--watch-namespaces=a,B_c",
            "--listen=here",
            "--resync=1d",
            "--concurrency=0",
            "--log-format=xml",
            "--leader-elect=maybe",
            "--hub-image=two words",
        ])
        .validate(|_| None)
        .unwrap_err();
        assert_eq!(error.0.len(), 7, "{error}");
        assert!(error.to_string().starts_with("7 mistakes in the settings:\n  - "));
    }

    #[test]
    fn election_without_a_namespace_says_what_to_set() {
        let error = parse(&[]).validate(|_| None).unwrap_err();
        assert_eq!(error.0.len(), 1);
        assert!(error.0[0].contains("--operator-namespace"));
        let settings =
            parse(&["--leader-elect=false", "--watch-namespaces= a, b ,"]).validate(|_| None).unwrap();
        assert_eq!(settings.watched, Watched::Namespaces(vec!["a".into(), "b".into()]));
    }
}
