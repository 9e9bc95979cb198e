//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::api::SpecDuration;
use crate::api::duration::DurationError;

/// Shows WebSocket hubs and gives them orders. Install it as `kubectl-wsc` on PATH and call it as `kubectl wsc`.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-wsc",
    bin_name = "kubectl wsc",
    version,
    disable_help_subcommand = true,
    after_help = "NAME may be left out where the namespace holds only one WscCluster.\n\
                  Exit codes: 0 done, 64 wrong use, 1 anything else."
)]
pub struct Arguments {
    /// Which Kubernetes, and where in it.
    #[command(flatten)]
    pub target: Target,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Which Kubernetes, and where in it.
#[derive(Debug, Clone, Default, Args)]
pub struct Target {
    /// Namespace; default: that of the context
    #[arg(short, long, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Context of the kubeconfig; default: the current one
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Kubeconfig file; default: KUBECONFIG, else ~/.kube/config
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// How the answer is printed
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Text)]
    pub output: Format,
}

/// How the answer is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show a cluster as a tree: operation, nodes with their connections, conditions, and what to do next
    Status {
        /// The WscCluster; default: every one of the namespace
        name: Option<String>,
    },
    /// List the nodes of a cluster with what each says about itself
    Nodes {
        /// The WscCluster
        name: Option<String>,
    },
    /// Show where a user is connected
    User(UserArguments),
    /// Mint a token that the hub accepts, by the cluster's own key; for tests
    Token(TokenArguments),
    /// Move the clients of one node elsewhere, at a pace; the node takes no new ones until it is cancelled
    Drain(DrainArguments),
    /// Take a drain back, so that the node takes clients again
    Cancel(CancelArguments),
    /// Replace all pods of a cluster, one after the other, with their clients moved first
    Restart {
        /// The WscCluster
        name: Option<String>,
    },
    /// Have nodes that hold more connections than the mean close the excess, once
    Rebalance {
        /// The WscCluster
        name: Option<String>,
        /// Name of this run; the same again does nothing. Default: the time
        #[arg(long, value_name = "ID")]
        id: Option<String>,
    },
    /// Write a support bundle: the resource, what belongs to it, events, what the hubs say, ends of the logs; no secrets
    Report(ReportArguments),
    /// Print a completion script; `kubectl` as the shell prints what kubectl calls for its plugins
    Completion {
        /// For whom
        shell: CompletionFor,
    },
    /// What kubectl asks while a user types
    #[command(name = "__complete", hide = true)]
    Complete {
        /// The words typed so far; the last one is being completed
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

/// `user`.
#[derive(Debug, Args)]
pub struct UserArguments {
    /// The user
    pub user: String,
    /// The WscCluster
    #[arg(short, long, value_name = "NAME")]
    pub cluster: Option<String>,
}

/// `token`.
#[derive(Debug, Args)]
pub struct TokenArguments {
    /// The user the token is for
    pub user: String,
    /// The WscCluster
    #[arg(short, long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// How long it is good for, such as 10m or 24h
    #[arg(long, default_value = "1h", value_name = "DURATION", value_parser = duration)]
    pub ttl: SpecDuration,
    /// Join this group at connect; may be given again
    #[arg(long = "group", value_name = "GROUP")]
    pub groups: Vec<String>,
    /// Allow sending, such as user:*, group:room-1 or backend; may be given again
    #[arg(long = "send", value_name = "GRANT")]
    pub send: Vec<String>,
    /// Allow joining groups, literal or ending in *; may be given again
    #[arg(long = "join", value_name = "GROUP")]
    pub join: Vec<String>,
    /// Bind the token to a device
    #[arg(long, value_name = "ID")]
    pub client_id: Option<String>,
    /// Claim iss, where the hub checks it
    #[arg(long, value_name = "TEXT")]
    pub issuer: Option<String>,
    /// Claim aud, where the hub checks it
    #[arg(long, value_name = "TEXT")]
    pub audience: Option<String>,
    /// Name of the key (kid); default: the only one
    #[arg(long, value_name = "KID")]
    pub key: Option<String>,
}

/// `drain`.
#[derive(Debug, Args)]
pub struct DrainArguments {
    /// The pod, which is also the node's id
    pub pod: String,
    /// Connections closed per second, 1 to 100000; default: as the cluster's spec says
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rate: Option<u32>,
    /// Close what is left after this time, up to 24h; default: no limit
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub deadline: Option<SpecDuration>,
    /// Clients are told to come back after a random time up to this, at most 60s
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub retry_after_max: Option<SpecDuration>,
    /// Replace a drain that the operator ordered
    #[arg(long)]
    pub force: bool,
}

/// `cancel`.
#[derive(Debug, Args)]
pub struct CancelArguments {
    /// The pod
    pub pod: String,
    /// Cancel a drain of the operator too; it will order it again
    #[arg(long)]
    pub force: bool,
}

/// `report`.
#[derive(Debug, Args)]
pub struct ReportArguments {
    /// The WscCluster
    pub name: Option<String>,
    /// The file to write; default: wsc-<namespace>-<name>-<time>.tar.gz here
    #[arg(long, short = 'f', value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Lines from the end of each log
    #[arg(long, default_value_t = 2000, value_name = "LINES", value_parser = clap::value_parser!(i64).range(1..=100_000))]
    pub tail: i64,
    /// Namespace of the operator, whose logs go in where they may be read
    #[arg(long, default_value = "wsc-system", value_name = "NAME")]
    pub operator_namespace: String,
}

fn duration(text: &str) -> Result<SpecDuration, DurationError> {
    SpecDuration::try_from(text.to_owned())
}

/// Who asks for completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CompletionFor {
    /// Bash, for the program kubectl-wsc.
    Bash,
    /// Zsh, for the program kubectl-wsc.
    Zsh,
    /// Fish, for the program kubectl-wsc.
    Fish,
    /// kubectl: the script kubectl_complete-wsc, to be put on PATH.
    Kubectl,
}

impl CompletionFor {
    /// The shell; none for kubectl.
    #[must_use]
    pub fn shell(self) -> Option<Shell> {
        match self {
            Self::Bash => Some(Shell::Bash),
            Self::Zsh => Some(Shell::Zsh),
            Self::Fish => Some(Shell::Fish),
            Self::Kubectl => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::{Arguments, Command, Format};

    #[test]
    fn the_command_line_holds_together_and_flags_stand_anywhere() {
        Arguments::command().debug_assert();
        for line in ["-n demo status chat -o json", "status chat --namespace demo -o json"] {
            let words = ["kubectl-wsc"].into_iter().chain(line.split(' '));
            let arguments = Arguments::try_parse_from(words).unwrap();
            assert_eq!(arguments.target.namespace.as_deref(), Some("demo"));
            assert_eq!(arguments.target.output, Format::Json);
            assert!(matches!(arguments.command, Command::Status { name: Some(name) } if name == "chat"));
        }
    }

    #[test]
    fn wrong_values_are_refused_with_what_would_be_right() {
        for (line, says) in [
            ("drain chat-0 --rate 0", "1..=100000"),
            ("token alice --ttl soon", "write whole numbers"),
            ("status -o yaml", "json"),
            ("fly", "unrecognized subcommand"),
        ] {
            let words = ["kubectl-wsc"].into_iter().chain(line.split(' '));
            let error = Arguments::try_parse_from(words).unwrap_err().to_string();
            assert!(error.contains(says), "{line}: {error}");
        }
    }
}
