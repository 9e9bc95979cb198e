//! What a request to connect says: query, headers and subprotocols, read without deciding anything. Pure.

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{GeneralPurpose, general_purpose::PAD},
};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use percent_encoding::percent_decode_str;

use crate::protocol::error_code::ErrorCode;

/// The subprotocol of this release.
pub const SUBPROTOCOL: &str = "wsc.v1";
/// Begins a subprotocol that carries a token: browsers can set no header.
const BEARER_SUBPROTOCOL: &str = "bearer.";
/// Of `Sec-WebSocket-Key`.
const KEY_ENCODING: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, PAD.with_decode_allow_trailing_bits(true));

/// Why a client is not taken. Answered as HTTP before the upgrade.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Refusal {
    /// The stable word.
    pub code: ErrorCode,
    /// What to change.
    pub detail: String,
}

impl Refusal {
    pub(super) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }

    fn bad(detail: impl Into<String>) -> Self {
        Self::new(ErrorCode::BadRequest, detail)
    }
}

/// What a client gave, each input at most once, not yet validated.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ConnectInputs {
    /// A token from query, `Authorization` or subprotocol.
    pub token: Option<String>,
    /// A user from query or `X-User-ID`; in mode proxy from `X-User-ID` only, and believed by nobody.
    pub user: Option<String>,
    /// The user as the proxy names it, in mode proxy.
    pub proxy_user: Option<String>,
    /// A device from query or `X-Client-ID`.
    pub client_id: Option<String>,
    /// Groups to join from the query, a comma list.
    pub groups: Option<String>,
    /// The last offset that the client has, from the query.
    pub offset: Option<String>,
    /// A session to take up.
    pub session: Option<String>,
    /// `Origin`.
    pub origin: Option<String>,
    /// `Host`.
    pub host: Option<String>,
    /// Whether the client offers [`SUBPROTOCOL`].
    pub offers_subprotocol: bool,
}

impl std::fmt::Debug for ConnectInputs {
    /// Leaves the token out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectInputs")
            .field("user", &self.user)
            .field("client_id", &self.client_id)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

impl ConnectInputs {
    /// Reads a request. `proxy_user`: in mode proxy the one header that names the user.
    ///
    /// # Errors
    /// [`Refusal`] for an input with two different values, one that is no text, or one that the mode does not take.
    pub fn read(uri: &Uri, headers: &HeaderMap, proxy_user: Option<&HeaderName>) -> Result<Self, Refusal> {
        let mut inputs = Self::default();
        for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name)?;
            let slot = match name.as_str() {
                "token" => &mut inputs.token,
                "user_id" if proxy_user.is_some() => {
                    return Err(Refusal::bad("user_id is not taken here: the proxy names the user"));
                }
                "user_id" => &mut inputs.user,
                "client_id" => &mut inputs.client_id,
                "groups" => &mut inputs.groups,
                "offset" if value.is_empty() => continue,
                "offset" => &mut inputs.offset,
                "session" => &mut inputs.session,
                _ => continue,
            };
            put(slot, &name, decode(value)?)?;
        }
        for value in texts(headers, &header::AUTHORIZATION)? {
            let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
            if scheme.eq_ignore_ascii_case("bearer") {
                put(&mut inputs.token, "token", token.trim().to_owned())?;
            }
        }
        for value in texts(headers, &header::SEC_WEBSOCKET_PROTOCOL)? {
            for protocol in value.split(',').map(str::trim) {
                if protocol == SUBPROTOCOL {
                    inputs.offers_subprotocol = true;
                } else if let Some(token) = protocol.strip_prefix(BEARER_SUBPROTOCOL) {
                    put(&mut inputs.token, "token", token.to_owned())?;
                }
            }
        }
        let named: [(&'static str, &mut Option<String>); 4] = [
            ("x-user-id", &mut inputs.user),
            ("x-client-id", &mut inputs.client_id),
            ("origin", &mut inputs.origin),
            ("host", &mut inputs.host),
        ];
        // In mode proxy the header may be one of these: then it is the proxy's word and nothing else.
        for (name, slot) in named.into_iter().filter(|(name, _)| proxy_user.is_none_or(|taken| taken != name))
        {
            for value in texts(headers, &HeaderName::from_static(name))? {
                put(slot, name, value.trim().to_owned())?;
            }
        }
        if let Some(name) = proxy_user {
            let mut values = texts(headers, name)?.into_iter().map(|value| value.trim().to_owned());
            inputs.proxy_user = values.next();
            // Even the same twice: one of them may be the client's own.
            if values.next().is_some() {
                return Err(Refusal::bad(format!("the header {name} is there more than once")));
            }
        }
        Ok(inputs)
    }
}

fn put(slot: &mut Option<String>, name: &str, value: String) -> Result<(), Refusal> {
    match slot {
        Some(present) if *present != value => {
            Err(Refusal::bad(format!("two different values of {name} are given")))
        }
        _ => {
            *slot = Some(value);
            Ok(())
        }
    }
}

/// Decodes once. A plus sign stays one: it is part of the grammar of ids, a space is not.
fn decode(text: &str) -> Result<String, Refusal> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| Refusal::bad("the query is not percent-encoded UTF-8"))
}

fn texts<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Vec<&'a str>, Refusal> {
    let text = |value: &'a http::HeaderValue| {
        value.to_str().map_err(|_| Refusal::bad(format!("header {name} holds characters outside ASCII")))
    };
    headers.get_all(name).iter().map(text).collect()
}

/// Checks that a request is a WebSocket handshake (RFC 6455 section 4.2.1) and returns its key, 24 characters.
///
/// # Errors
/// [`Refusal`] naming the header that is wrong.
pub fn websocket_key(headers: &HeaderMap) -> Result<&[u8], Refusal> {
    let names = |name: HeaderName, word: &str| {
        let mut values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word)))
    };
    if !names(header::CONNECTION, "upgrade") || !names(header::UPGRADE, "websocket") {
        return Err(Refusal::bad("this is a WebSocket endpoint: connect with an upgrade to websocket"));
    }
    if sole(headers, &header::HOST).is_none() {
        return Err(Refusal::bad("a request has one Host header"));
    }
    // What comes behind the head would be taken for frames.
    let empty = |length: &HeaderValue| length.as_bytes() == b"0";
    if headers.contains_key(header::TRANSFER_ENCODING)
        || !headers.get_all(header::CONTENT_LENGTH).iter().all(empty)
    {
        return Err(Refusal::bad("a WebSocket handshake has no body"));
    }
    let key = sole(headers, &header::SEC_WEBSOCKET_KEY).unwrap_or_default();
    // Its padding is checked, its last bits are not: some clients leave chance in them.
    let mut nonce = [0; 18];
    let decoded = KEY_ENCODING.decode_slice(key, &mut nonce);
    if key.len() == 24 && decoded == Ok(16) {
        Ok(key)
    } else {
        Err(Refusal::bad("one Sec-WebSocket-Key of 16 bytes in base64 is needed"))
    }
}

/// Whether the client speaks the one version there is (RFC 6455 section 4.4).
#[must_use]
pub fn is_version_13(headers: &HeaderMap) -> bool {
    sole(headers, &header::SEC_WEBSOCKET_VERSION) == Some(b"13")
}

/// The value of a header that must not come twice (RFC 6455 section 11.3).
fn sole<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none()).map(HeaderValue::as_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Headers<'a> = &'a [(&'static str, &'a str)];

    fn read(uri: &str, headers: Headers<'_>) -> Result<ConnectInputs, Refusal> {
        read_behind(None, uri, headers)
    }

    fn read_behind(
        proxy_user: Option<&HeaderName>,
        uri: &str,
        headers: Headers<'_>,
    ) -> Result<ConnectInputs, Refusal> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        ConnectInputs::read(&uri.parse().unwrap(), &map, proxy_user)
    }

    #[test]
    fn each_input_is_found_wherever_it_stands() {
        let cases: [(&str, Headers<'_>); 4] = [
            ("/ws?token=a.b.c", &[]),
            ("/ws", &[("authorization", "Bearer a.b.c")]),
            ("/ws", &[("authorization", "bearer  a.b.c")]),
            ("/ws?token=a.b.c", &[("sec-websocket-protocol", "wsc.v1, bearer.a.b.c")]),
        ];
        for (uri, headers) in cases {
            assert_eq!(read(uri, headers).unwrap().token.as_deref(), Some("a.b.c"), "{uri} {headers:?}");
        }
        let inputs = read("/ws?user_id=al%2Bice+b&x=1", &[("x-client-id", "phone"), ("host", "h")]).unwrap();
        assert_eq!(inputs.user.as_deref(), Some("al+ice+b"));
        assert_eq!((inputs.client_id.as_deref(), inputs.host.as_deref()), (Some("phone"), Some("h")));
        assert!(!inputs.offers_subprotocol);
        let inputs = read("/ws", &[("sec-websocket-protocol", "chat"), ("sec-websocket-protocol", "wsc.v1")]);
        assert!(inputs.unwrap().offers_subprotocol);
    }

    #[test]
    fn contradictions_are_refused() {
        let cases: [(&str, Headers<'_>, &str); 8] = [
            ("/ws?user_id=a&user_id=b", &[], "two different values of user_id"),
            ("/ws?user_id=a", &[("x-user-id", "b")], "two different values of x-user-id"),
            ("/ws?token=a", &[("authorization", "Bearer b")], "two different values of token"),
            ("/ws", &[("origin", "http://a"), ("origin", "http://b")], "two different values of origin"),
            ("/ws?user_id=%ff", &[], "the query is not percent-encoded UTF-8"),
            ("/ws?groups=a&groups=b", &[], "two different values of groups"),
            ("/ws?offset=a&offset=b", &[], "two different values of offset"),
            ("/ws?session=a&session=b", &[], "two different values of session"),
        ];
        for (uri, headers, why) in cases {
            let refusal = read(uri, headers).unwrap_err();
            assert!(refusal.detail.starts_with(why), "{uri} {headers:?}: {refusal}");
        }
        assert!(read("/ws?user_id=a&user_id=a&groups=", &[("x-user-id", "a")]).is_ok());
    }

    #[test]
    fn in_mode_proxy_one_header_once_names_the_user() {
        let header = HeaderName::from_static("x-forwarded-user");
        let read = |uri: &str, headers: Headers<'_>| read_behind(Some(&header), uri, headers);
        let inputs = read("/ws", &[("x-forwarded-user", " alice "), ("x-user-id", "eve")]).unwrap();
        assert_eq!((inputs.proxy_user.as_deref(), inputs.user.as_deref()), (Some("alice"), Some("eve")));
        assert_eq!(read("/ws", &[]).unwrap().proxy_user, None);
        for (uri, headers, why) in [
            ("/ws?user_id=alice", &[][..], "user_id is not taken here"),
            ("/ws?user%5Fid=", &[], "user_id is not taken here"),
            (
                "/ws",
                &[("x-forwarded-user", "a"), ("x-forwarded-user", "a")],
                "the header x-forwarded-user is there more",
            ),
        ] {
            let refusal = read(uri, headers).unwrap_err();
            assert!(refusal.detail.starts_with(why), "{uri} {headers:?}: {refusal}");
        }
        let header = HeaderName::from_static("x-user-id");
        let inputs = read_behind(Some(&header), "/ws", &[("x-user-id", "alice")]).unwrap();
        assert_eq!((inputs.proxy_user, inputs.user), (Some("alice".to_owned()), None));
    }

    #[test]
    fn a_handshake_has_its_headers() {
        let whole = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("host", "hub.example"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZR=="),
            ("sec-websocket-version", "13"),
        ];
        let map = |headers: Headers<'_>| -> HeaderMap {
            headers.iter().map(|(n, v)| (HeaderName::from_static(n), v.parse().unwrap())).collect()
        };
        assert!(websocket_key(&map(&whole)).is_ok() && is_version_13(&map(&whole)));
        for missing in 0..4 {
            let headers: Vec<_> =
                whole.iter().enumerate().filter(|(n, _)| *n != missing).map(|(_, h)| *h).collect();
            assert!(websocket_key(&map(&headers)).is_err(), "{missing}");
        }
        assert!(!is_version_13(&map(&whole[..4])));
        for more in [
            ("host", "other.example"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("content-length", "5"),
            ("transfer-encoding", "chunked"),
        ] {
            let mut headers = map(&whole);
            headers.append(more.0, more.1.parse().unwrap());
            assert!(websocket_key(&headers).is_err(), "{more:?}");
        }
    }
}
