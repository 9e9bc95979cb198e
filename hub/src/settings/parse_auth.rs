//! Who may connect: the settings of modes, keys, proxies and origins.

use http::HeaderName;
use ipnet::IpNet;

use super::{
    effective::{AuthMode, AuthSettings},
    parse::Reader,
};

pub(super) fn auth(reader: &mut Reader<'_>, dev: bool) -> AuthSettings {
    let mode = reader.read("WSC_AUTH_MODE", |text| match text {
        "token" | "proxy" if dev => Err("--dev is always trusted".to_owned()),
        "token" => Ok(AuthMode::Token),
        "proxy" => Ok(AuthMode::Proxy),
        "trusted" => Ok(AuthMode::Trusted),
        _ => Err(format!("expected token, proxy or trusted, found {text:?}")),
    });
    // What another mode would need is not asked for when the mode itself cannot be read.
    let known = mode.is_some() || reader.text("WSC_AUTH_MODE").is_none();
    let mode = mode.unwrap_or(if dev { AuthMode::Trusted } else { AuthMode::Token });
    let keys_given = reader.text("WSC_AUTH_KEYS_DIR").is_some();
    let keys_dir = reader.path("WSC_AUTH_KEYS_DIR", true);
    if known && mode == AuthMode::Token && !keys_given {
        reader.problem("WSC_AUTH_KEYS_DIR", "mode token needs a directory of keys (or try --dev)");
    }
    let header_given = reader.text("WSC_PROXY_USER_HEADER").is_some();
    let proxy_user_header = reader.read("WSC_PROXY_USER_HEADER", user_header);
    let proxies_given = reader.text("WSC_TRUSTED_PROXIES").is_some();
    let trusted_proxies = reader.read("WSC_TRUSTED_PROXIES", networks).unwrap_or_default();
    match mode {
        AuthMode::Proxy => {
            if !header_given {
                reader.problem("WSC_PROXY_USER_HEADER", "mode proxy needs the header that names the user");
            }
            if !proxies_given {
                reader
                    .problem("WSC_TRUSTED_PROXIES", "mode proxy needs the networks of the proxies it trusts");
            }
        }
        AuthMode::Token | AuthMode::Trusted if known && header_given => {
            reader.problem(
                "WSC_PROXY_USER_HEADER",
                "acts in mode proxy only: set WSC_AUTH_MODE or leave it unset",
            );
        }
        AuthMode::Token | AuthMode::Trusted => {}
    }
    AuthSettings {
        mode,
        keys_dir,
        issuer: reader.text("WSC_TOKEN_ISSUER"),
        audience: reader.text("WSC_TOKEN_AUDIENCE"),
        proxy_user_header,
        trusted_proxies,
    }
}

/// Headers that already say something else; a user in one of them would be mistaken for it, or the other way round.
const TAKEN: [&str; 11] = [
    "authorization",
    "connection",
    "cookie",
    "forwarded",
    "host",
    "origin",
    "upgrade",
    "x-client-id",
    "x-forwarded-for",
    "content-length",
    "transfer-encoding",
];

fn user_header(text: &str) -> Result<HeaderName, String> {
    let name = HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| format!("expected the name of a header like X-Forwarded-User, found {text:?}"))?;
    if TAKEN.contains(&name.as_str()) || name.as_str().starts_with("sec-websocket-") {
        return Err(format!("the header {text:?} has a meaning of its own, choose another"));
    }
    Ok(name)
}

/// A comma list of networks; an address alone is a network of one.
fn networks(text: &str) -> Result<Vec<IpNet>, String> {
    let one = |part: &str| {
        let network =
            part.parse::<IpNet>().ok().or_else(|| part.parse::<std::net::IpAddr>().ok().map(IpNet::from));
        match network {
            Some(network) if network.prefix_len() == 0 => {
                Err(format!("{part:?} is everybody, so every client could name any user or address"))
            }
            Some(network) => Ok(network.trunc()),
            None => Err(format!("expected networks like 10.0.0.0/8 or 2001:db8::/32, found {part:?}")),
        }
    };
    text.split(',').map(str::trim).map(one).collect()
}

/// One origin, in small letters and with no slash at its end.
pub(super) fn origin(text: &str) -> Result<String, String> {
    let origin = text.trim().trim_end_matches('/').to_ascii_lowercase();
    let scheme_char = |c: char| c.is_ascii_alphanumeric() || "+.-".contains(c);
    let good = origin == "*"
        || origin.split_once("://").is_some_and(|(scheme, host)| {
            scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.chars().all(scheme_char)
                && !host.is_empty()
                && !host.contains(['/', ' ', '@', '*', '?', '#'])
        });
    match good {
        true => Ok(origin),
        false if origin.contains('*') => {
            Err(format!("* stands alone and allows all, list each origin instead of {origin:?}"))
        }
        false => Err(format!("expected an origin like https://example.org, found {origin:?}")),
    }
}
