//! The settings of Redis: where it is, in which form, and how to log in.

use super::{
    effective::{RedisMode, RedisSettings},
    parse::Reader,
};

/// Where Redis is, as a URL says it.
#[derive(Debug, PartialEq, Eq)]
struct RedisUrl {
    tls: bool,
    hosts: Vec<(String, Option<u16>)>,
    database: i64,
}

pub(super) fn redis(reader: &mut Reader<'_>) -> Option<RedisSettings> {
    let url = reader.read("WSC_REDIS_URL", redis_url);
    let mut given = Vec::new();
    let mode = reader
        .read("WSC_REDIS_MODE", |text| match text {
            "standalone" => Ok(RedisMode::Standalone),
            "sentinel" => Ok(RedisMode::Sentinel),
            "cluster" => Ok(RedisMode::Cluster),
            _ => Err(format!("expected standalone, sentinel or cluster, found {text:?}")),
        })
        .inspect(|_| given.push("WSC_REDIS_MODE".to_owned()))
        .unwrap_or(RedisMode::Standalone);
    let master = reader.text("WSC_REDIS_SENTINEL_MASTER");
    match (mode, &master) {
        (RedisMode::Sentinel, None) => reader.problem(
            "WSC_REDIS_SENTINEL_MASTER",
            "with mode sentinel it says which primary the Sentinels watch",
        ),
        (RedisMode::Standalone | RedisMode::Cluster, Some(_)) => {
            reader.problem("WSC_REDIS_SENTINEL_MASTER", "acts with WSC_REDIS_MODE sentinel only");
        }
        _ => {}
    }
    if let Some(url) = &url {
        if mode == RedisMode::Standalone && url.hosts.len() > 1 {
            reader.problem("WSC_REDIS_URL", "a list of addresses needs WSC_REDIS_MODE sentinel or cluster");
        }
        if mode == RedisMode::Cluster && url.database != 0 {
            reader.problem("WSC_REDIS_URL", "a Redis Cluster has only the database 0");
        }
    }
    let files = ["USERNAME", "PASSWORD", "CA", "CERT", "KEY"];
    let mut paths = files.map(|what| {
        let name = format!("WSC_REDIS_{what}_FILE");
        let path = reader.path(&name, false);
        let tls_only = matches!(what, "CA" | "CERT" | "KEY");
        if path.is_some() && tls_only && url.as_ref().is_some_and(|url| !url.tls) {
            reader.problem(&name, "needs a rediss:// address");
        }
        if path.is_some() {
            given.push(name);
        }
        path
    });
    given.extend(reader.text("WSC_OWNER").map(|_| "WSC_OWNER".to_owned()));
    // Whoever sets these believes to have a cluster, and would have lone nodes that do not know of each other.
    if reader.text("WSC_REDIS_URL").is_none() && !given.is_empty() {
        reader.problem(
            "WSC_REDIS_URL",
            format!("missing, though {} is set: without it the node is alone", given.join(", ")),
        );
    }
    if paths[3].is_some() != paths[4].is_some() {
        reader.problem(
            "WSC_REDIS_CERT_FILE",
            "a client certificate and its key go together: set WSC_REDIS_KEY_FILE too",
        );
    }
    let mut take = |n: usize| paths.get_mut(n).and_then(Option::take);
    let url = url?;
    let default_port = if mode == RedisMode::Sentinel { 26_379 } else { 6379 };
    Some(RedisSettings {
        mode,
        tls: url.tls,
        hosts: url.hosts.into_iter().map(|(host, port)| (host, port.unwrap_or(default_port))).collect(),
        database: url.database,
        sentinel_master: master.unwrap_or_default(),
        username_file: take(0),
        password_file: take(1),
        ca_file: take(2),
        cert_file: take(3),
        key_file: take(4),
    })
}

/// Reads `redis://a:1,b:2/0`; each address may repeat the scheme, and the database stands behind the last.
fn redis_url(text: &str) -> Result<RedisUrl, String> {
    let mut url = RedisUrl { tls: false, hosts: Vec::new(), database: 0 };
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    for (n, part) in parts.iter().enumerate() {
        let (tls, rest) = match (part.strip_prefix("redis://"), part.strip_prefix("rediss://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ if n > 0 && !part.contains("://") => (url.tls, *part),
            _ => {
                let shown = part.split('@').next_back().unwrap_or_default();
                return Err(format!("expected redis:// or rediss://, found {shown:?}"));
            }
        };
        if n > 0 && tls != url.tls {
            return Err("redis:// and rediss:// cannot be mixed".to_owned());
        }
        url.tls = tls;
        if rest.contains('@') {
            return Err(
                "user and password do not belong here, give WSC_REDIS_USERNAME_FILE and WSC_REDIS_PASSWORD_FILE"
                    .to_owned(),
            );
        }
        if rest.contains(['?', '#']) {
            return Err(format!("expected an address without ? and #, found {rest:?}"));
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if !path.is_empty() {
            let database = path.parse::<u16>().map_err(|_| {
                format!("expected a number of a database from 0 to 65535 after the slash, found {path:?}")
            })?;
            if n + 1 < parts.len() && database != 0 {
                return Err("the database stands behind the last address only".to_owned());
            }
            url.database = i64::from(database);
        }
        url.hosts.push(host_and_port(authority)?);
    }
    Ok(url)
}

/// Reads `host`, `host:port`, `[::1]` or `[::1]:port`.
fn host_and_port(authority: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':').unwrap_or("none"))),
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if host.is_empty() {
        return Err("the host is missing".to_owned());
    }
    let port = match port {
        Some(text) => Some(text.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(|| {
            format!("expected a port from 1 to 65535 behind the host, found {authority:?}")
        })?),
        None => None,
    };
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (bool, Vec<(String, Option<u16>)>, i64) {
        let url = redis_url(text).unwrap();
        (url.tls, url.hosts, url.database)
    }

    fn host(name: &str, port: Option<u16>) -> (String, Option<u16>) {
        (name.to_owned(), port)
    }

    #[test]
    fn urls_are_read_with_and_without_ports_databases_and_lists() {
        assert_eq!(read("redis://a"), (false, vec![host("a", None)], 0));
        assert_eq!(read("rediss://a:1/"), (true, vec![host("a", Some(1))], 0));
        assert_eq!(read("redis://[::1]:7/3"), (false, vec![host("::1", Some(7))], 3));
        assert_eq!(read("redis://[::1]"), (false, vec![host("::1", None)], 0));
        let three = vec![host("a", Some(1)), host("b", None), host("c", Some(3))];
        assert_eq!(read("redis://a:1,b,c:3/2"), (false, three.clone(), 2));
        assert_eq!(read("redis://a:1, redis://b ,redis://c:3"), (false, three, 0));
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said_without_its_password() {
        for (text, why) in [
            ("http://x", "expected redis:// or rediss://"),
            ("user:secret@host", "expected redis:// or rediss://"),
            ("redis://user:secret@host", "user and password do not belong here"),
            ("redis://a,redis://u:secret@b", "user and password do not belong here"),
            ("redis://a,rediss://b", "cannot be mixed"),
            ("redis://", "the host is missing"),
            ("redis:///1", "the host is missing"),
            ("redis://a,,b", "the host is missing"),
            ("redis://a:0", "expected a port"),
            ("redis://a:b", "expected a port"),
            ("redis://[::1]7", "expected a port"),
            ("redis://a/x", "expected a number of a database"),
            ("redis://a/1,b", "behind the last address"),
            ("redis://a?x=1", "without ? and #"),
        ] {
            let found = redis_url(text).unwrap_err();
            assert!(found.contains(why) && !found.contains("secret"), "{text}: {found}");
        }
    }
}
