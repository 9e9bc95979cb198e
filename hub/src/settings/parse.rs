//! From flags and variables to settings; every mistake is found in one pass.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Arg, ArgAction, ArgMatches, Command, error::ErrorKind};

use super::{
    catalogue::{CATALOGUE, Setting},
    drain::{DRAIN_FIELDS, DrainSettings},
    duration::parse_duration,
    effective::{AuthMode, ClientSend, InboxSettings, LogFormat, OnRegistryDown, PerUserSettings, Settings},
    hot_settings::{HotFile, HotSettings},
    limits::{BOUNDS, Limits, whole_number},
    parse_auth,
    parse_redis::redis,
};
use crate::identity::NodeId;

/// Descriptors kept for listeners, Redis, files.
const RESERVED_FILES: u64 = 512;

/// Why the program does not start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// Help or version was asked for: print it and end with 0.
    Help(String),
    /// Every mistake, a sentence each: end with 64 (`EX_USAGE` of sysexits.h).
    Bad(Vec<String>),
}

/// What the machine says; passed in so that parsing has no side effects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// The host's name.
    pub host_name: String,
    /// An address of this machine that others may reach.
    pub ip: String,
    /// Soft limit of open files.
    pub open_files: u64,
    /// Memory that the process may take, in bytes: the container's limit, else the machine's.
    pub memory: u64,
    /// Whether logs go to a terminal.
    pub terminal: bool,
}

fn command() -> Command {
    let mut command = Command::new("wsc-hub")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A WebSocket hub: users connect to any node, a backend sends to users or to everyone")
        .after_help(
            "Durations are numbers with a unit: 250ms, 10s, 1h30m.\n\
             Two listeners: clients use GET /ws; the backend uses /v1 with an API key. Both answer /health and /livez.\n\
             Exit status: 0 ended as asked, 64 bad settings or keys, 1 anything else.",
        )
        .arg(
            Arg::new("dev").long("dev").action(ArgAction::SetTrue).help(
                "For trying out: loopback only, clients say who they are, a well-known API key, logs for people",
            ),
        );
    for setting in CATALOGUE {
        let default = if setting.default.is_empty() {
            String::new()
        } else {
            format!(" [default: {}]", setting.default)
        };
        command = command.arg(
            Arg::new(setting.variable)
                .long(setting.flag())
                .value_name(setting.value)
                .help_heading(setting.heading)
                .allow_hyphen_values(true)
                .help(format!("{}{default} [variable: {}]", setting.help, setting.variable)),
        );
    }
    command
}

/// Reads `args` (the program's name first) and variables; a flag wins over its variable, an empty variable is none.
///
/// # Errors
/// [`Exit`] with the help, or with every mistake.
pub fn parse(
    args: impl IntoIterator<Item = OsString>,
    variable: &dyn Fn(&str) -> Option<String>,
    around: &Surroundings,
) -> Result<Settings, Exit> {
    let matches = command().try_get_matches_from(args).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Help(error.render().to_string()),
        _ => Exit::Bad(vec![error.render().to_string().trim().trim_start_matches("error: ").to_owned()]),
    })?;
    let mut reader = Reader { matches, variable, problems: Vec::new() };
    let settings = read(&mut reader, around);
    match settings {
        Some(settings) if reader.problems.is_empty() => Ok(settings),
        _ => Err(Exit::Bad(reader.problems)),
    }
}

pub(super) struct Reader<'a> {
    matches: ArgMatches,
    variable: &'a dyn Fn(&str) -> Option<String>,
    problems: Vec<String>,
}

impl Reader<'_> {
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let flag = self.matches.get_one::<String>(name).cloned();
        flag.or_else(|| (self.variable)(name))
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty())
    }

    pub(super) fn problem(&mut self, name: &str, what: impl std::fmt::Display) {
        let flag = CATALOGUE.iter().find(|setting| setting.variable == name).map(Setting::flag);
        self.problems.push(match flag {
            Some(flag) => format!("{name} (--{flag}): {what}"),
            None => format!("{name}: {what}"),
        });
    }

    pub(super) fn read<T>(&mut self, name: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text(name)?;
        match read(&text) {
            Ok(value) => Some(value),
            Err(what) => {
                self.problem(name, what);
                None
            }
        }
    }

    fn number(&mut self, name: &str, default: u64, least: u64, most: u64) -> u64 {
        self.read(name, |text| whole_number(text, least, most)).unwrap_or(default)
    }

    fn duration(&mut self, name: &str, default: &str, least: &str, most: &str) -> Duration {
        let known = |text| parse_duration(text).unwrap_or_default();
        self.read(name, |text| match parse_duration(text)? {
            found if (known(least)..=known(most)).contains(&found) => Ok(found),
            _ => Err(format!("expected a duration from {least} to {most}, found {text:?}")),
        })
        .unwrap_or_else(|| known(default))
    }

    fn address(&mut self, name: &str, default: SocketAddr) -> SocketAddr {
        self.read(name, |text| {
            text.parse().map_err(|_| format!("expected an address like 0.0.0.0:8080, found {text:?}"))
        })
        .unwrap_or(default)
    }

    /// A file or directory that must be there and readable now.
    pub(super) fn path(&mut self, name: &str, directory: bool) -> Option<PathBuf> {
        self.read(name, |text| {
            let path = PathBuf::from(text);
            let what = if directory { "directory" } else { "file" };
            match std::fs::metadata(&path) {
                Ok(found) if found.is_dir() == directory => Ok(path),
                Ok(_) => Err(format!("{text:?} is not a {what}")),
                Err(error) => Err(format!("cannot read the {what} {text:?}: {error}")),
            }
        })
    }
}

fn read(reader: &mut Reader<'_>, around: &Surroundings) -> Option<Settings> {
    let dev = reader.matches.get_flag("dev");
    let node_id = node_id(reader, around);
    let (client_addr, api_addr) = addresses(reader, dev);
    let redis = redis(reader);
    let key_prefix = reader
        .read("WSC_KEY_PREFIX", |text| {
            let allowed = |b: u8| b.is_ascii_alphanumeric() || b":._-".contains(&b);
            let good = text.len() <= 64 && text.bytes().all(allowed);
            if good {
                Ok(text.to_owned())
            } else {
                Err(format!("expected at most 64 of A-Z a-z 0-9 : . _ -, found {text:?}"))
            }
        })
        .unwrap_or_else(|| "wsc:".to_owned());
    let auth = parse_auth::auth(reader, dev);
    let api_keys_dir = reader.path("WSC_API_KEYS_DIR", true);
    let heartbeat_interval = reader.duration("WSC_HEARTBEAT_INTERVAL", "10s", "100ms", "20s");
    let lease = reader.duration("WSC_LEASE", "30s", "300ms", "60s");
    if lease < heartbeat_interval * 3 {
        reader.problem(
            "WSC_LEASE",
            format!("{lease:?} is less than three heartbeats of {heartbeat_interval:?}"),
        );
    }
    let hot = hot(reader, around, auth.mode);
    let hot_settings_file = reader.path("WSC_HOT_SETTINGS_FILE", false);
    if let Some(Err(bad)) = hot_settings_file.as_ref().map(|path| HotFile::read(path, &hot)) {
        for what in bad.0 {
            reader.problem("WSC_HOT_SETTINGS_FILE", what);
        }
    }
    let log_format = log_format(reader, dev, around);
    Some(Settings {
        node_ip: reader
            .read("WSC_NODE_IP", |text| match text.parse::<std::net::IpAddr>() {
                Ok(ip) => Ok(ip.to_string()),
                Err(_) => Err(format!("expected an IP address, found {text:?}")),
            })
            .unwrap_or_else(|| around.ip.clone()),
        pod_uid: reader.text("WSC_POD_UID").unwrap_or_default(),
        zone: reader.text("WSC_ZONE").unwrap_or_default(),
        owner: reader.text("WSC_OWNER").unwrap_or_default(),
        ping_interval: reader.duration("WSC_PING_INTERVAL", "25s", "100ms", "10m"),
        resume_window: reader.duration("WSC_RESUME_WINDOW", "2m", "0s", "24h"),
        max_groups: usize::try_from(reader.number("WSC_MAX_GROUPS", 128, 1, 4096)).unwrap_or(usize::MAX),
        inbox: inbox(reader),
        per_user: per_user(reader),
        on_registry_down: reader
            .read("WSC_ON_REGISTRY_DOWN", |text| match text {
                "accept" => Ok(OnRegistryDown::Accept),
                "refuse" => Ok(OnRegistryDown::Refuse),
                _ => Err(format!("expected accept or refuse, found {text:?}")),
            })
            .unwrap_or(OnRegistryDown::Accept),
        handshake_timeout: reader.duration("WSC_HANDSHAKE_TIMEOUT", "5s", "100ms", "1m"),
        grace: reader.duration("WSC_GRACE", "110s", "1s", "1h"),
        events: reader
            .read("WSC_EVENTS", |text| match text {
                "true" => Ok(true),
                "false" => Ok(false),
                _ => Err(format!("expected true or false, found {text:?}")),
            })
            .unwrap_or(false),
        node_id: node_id?,
        client_addr,
        api_addr,
        redis,
        key_prefix,
        auth,
        api_keys_dir,
        heartbeat_interval,
        lease,
        hot,
        hot_settings_file,
        log_format,
        dev,
    })
}

fn node_id(reader: &mut Reader<'_>, around: &Surroundings) -> Option<NodeId> {
    let given = reader.text("WSC_NODE_ID");
    let pod = (reader.variable)("POD_NAME").filter(|text| !text.is_empty());
    let (name, text) = match (given, pod) {
        (Some(text), _) => ("WSC_NODE_ID", text),
        (None, Some(text)) => ("POD_NAME", text),
        // A host name may have dots and capitals; a node id is the label that comes of it.
        (None, None) => {
            let label = around.host_name.split('.').next().unwrap_or_default().to_ascii_lowercase();
            let label: String =
                label.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(63).collect();
            let label = label.trim_matches('-');
            ("WSC_NODE_ID", if label.is_empty() { "node".to_owned() } else { label.to_owned() })
        }
    };
    NodeId::new(&text).map_err(|error| reader.problem(name, error)).ok()
}

fn addresses(reader: &mut Reader<'_>, dev: bool) -> (SocketAddr, SocketAddr) {
    let ip = if dev { [127, 0, 0, 1] } else { [0, 0, 0, 0] };
    let client = reader.address("WSC_CLIENT_ADDR", SocketAddr::from((ip, 8080)));
    let api = reader.address("WSC_API_ADDR", SocketAddr::from((ip, 8081)));
    for (name, address) in [("WSC_CLIENT_ADDR", client), ("WSC_API_ADDR", api)] {
        if dev && !address.ip().is_loopback() {
            reader.problem(name, format!("--dev listens on loopback only, found {address}"));
        }
    }
    if client == api && client.port() != 0 {
        reader.problem("WSC_API_ADDR", format!("both listeners would use {client}"));
    }
    (client, api)
}

fn inbox(reader: &mut Reader<'_>) -> InboxSettings {
    let messages = reader.number("WSC_INBOX_MAX_MESSAGES", 1000, 0, 100_000);
    InboxSettings {
        messages: u32::try_from(messages).unwrap_or(u32::MAX),
        bytes: reader.number("WSC_INBOX_MAX_BYTES", 1 << 20, 1024, 1 << 28),
        ttl: reader.duration("WSC_INBOX_TTL", "168h", "1s", "8760h"),
    }
}

fn per_user(reader: &mut Reader<'_>) -> PerUserSettings {
    let reject = reader.read("WSC_ON_EXCESS", |text| match text {
        "close_oldest" => Ok(false),
        "reject" => Ok(true),
        _ => Err(format!("expected close_oldest or reject, found {text:?}")),
    });
    let most = reader.number("WSC_MAX_CONNECTIONS_PER_USER", 0, 0, 10_000);
    PerUserSettings { most: u32::try_from(most).unwrap_or(u32::MAX), reject: reject.unwrap_or(false) }
}

/// What may change while the hub runs, as flags and variables say.
fn hot(reader: &mut Reader<'_>, around: &Surroundings, mode: AuthMode) -> HotSettings {
    let mut limits = Limits::of_memory(around.memory);
    for bound in BOUNDS {
        reader.read(bound.variable, |text| bound.read(text, &mut limits));
    }
    for (name, what) in limits.contradictions() {
        reader.problem(name, what);
    }
    let mut drain = DrainSettings::default();
    for field in DRAIN_FIELDS {
        reader.read(field.variable, |text| (field.read)(&mut drain, text));
    }
    let by_default = if mode == AuthMode::Trusted { ClientSend::All } else { ClientSend::Granted };
    let possible = around.open_files.saturating_sub(RESERVED_FILES).max(1);
    let wanted = reader.number("WSC_MAX_CONNECTIONS", 50_000, 1, 1_000_000);
    let list = |text: &str| text.split(',').map(parse_auth::origin).collect::<Result<Vec<_>, _>>();
    HotSettings {
        allowed_origins: reader.read("WSC_ALLOWED_ORIGINS", list).unwrap_or_default(),
        log_directives: reader.read("WSC_LOG", log_directives).unwrap_or_else(|| "info".to_owned()),
        client_send: reader.read("WSC_CLIENT_SEND", ClientSend::read).unwrap_or(by_default),
        max_connections: usize::try_from(wanted.min(possible)).unwrap_or(usize::MAX),
        possible_connections: usize::try_from(possible).unwrap_or(usize::MAX),
        limits,
        drain,
    }
}

/// A level, or directives.
pub(super) fn log_directives(text: &str) -> Result<String, String> {
    // A bare word that is no level would be taken for the name of a target, and nothing be logged.
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    let plausible = |part: &str| {
        part.contains(['=', ':', '[']) || levels.contains(&part.trim().to_ascii_lowercase().as_str())
    };
    let valid =
        tracing_subscriber::EnvFilter::builder().parse(text).is_ok() && text.split(',').all(plausible);
    if valid {
        Ok(text.to_owned())
    } else {
        Err(format!("expected a level like info or debug, found {text:?}"))
    }
}

fn log_format(reader: &mut Reader<'_>, dev: bool, around: &Surroundings) -> LogFormat {
    let format = reader.read("WSC_LOG_FORMAT", |text| match text {
        "json" => Ok(LogFormat::Json),
        "text" => Ok(LogFormat::Text),
        _ => Err(format!("expected json or text, found {text:?}")),
    });
    format.unwrap_or(if dev || around.terminal { LogFormat::Text } else { LogFormat::Json })
}
