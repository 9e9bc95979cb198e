//! Who a client is on the network: the socket's peer, or whom a trusted proxy names.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use http::HeaderMap;
use ipnet::IpNet;

/// Each proxy appends the address that it was connected from.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The address of a client. Shown as `192.0.2.1:5000`, `[2001:db8::1]:5000`, or without a port that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientAddress {
    ip: IpAddr,
    port: Option<u16>,
    from_trusted_proxy: bool,
}

impl ClientAddress {
    /// The socket's `peer`; if that is one of the `trusted` proxies, the right-most address of `X-Forwarded-For` that
    /// is not, since each proxy vouches only for what it appended. When all of them are trusted it is the first, and
    /// what is not an address hides what stands before it: then it is the proxy that wrote it down.
    #[must_use]
    pub fn of(peer: SocketAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        let is_trusted = |ip: IpAddr| trusted.iter().any(|net| net.contains(&ip));
        let (mut ip, mut port) = (peer.ip().to_canonical(), Some(peer.port()));
        let from_trusted_proxy = is_trusted(ip);
        let lines = headers.get_all(FORWARDED_FOR).iter();
        // Several lines are one list (RFC 9110 section 5.3). A line that is no text hides all before it.
        let lines: Vec<&str> = lines.map(|line| line.to_str().unwrap_or("?")).collect();
        let hops = lines.iter().rev().flat_map(|line| line.rsplit(','));
        for hop in hops.map(str::trim).filter(|hop| !hop.is_empty()) {
            if !is_trusted(ip) {
                break;
            }
            let Some(before) = hop_address(hop) else { break };
            (ip, port) = before;
        }
        Self { ip, port, from_trusted_proxy }
    }

    /// The address without its port; an IPv4 address that came within IPv6 is an IPv4 address.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// Whether the socket's peer is a trusted proxy, so that its headers are believed.
    #[must_use]
    pub fn from_trusted_proxy(&self) -> bool {
        self.from_trusted_proxy
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
            None => self.ip.fmt(f),
        }
    }
}

/// One element of the list: an address, an IPv6 one with or without brackets, with or without a port.
fn hop_address(hop: &str) -> Option<(IpAddr, Option<u16>)> {
    if let Ok(ip) = hop.parse::<IpAddr>() {
        return Some((ip.to_canonical(), None));
    }
    if let Ok(address) = hop.parse::<SocketAddr>() {
        return Some((address.ip().to_canonical(), Some(address.port())));
    }
    let within = hop.strip_prefix('[')?.strip_suffix(']')?;
    within.parse::<std::net::Ipv6Addr>().ok().map(|ip| (IpAddr::V6(ip).to_canonical(), None))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_right_most_untrusted_address_is_the_client() {
        let trusted: Vec<IpNet> =
            ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32"].iter().map(|net| net.parse().unwrap()).collect();
        let cases: [(&str, &[&str], &str); 24] = [
            ("203.0.113.9:5000", &[], "203.0.113.9:5000"),
            ("203.0.113.9:5000", &["198.51.100.7"], "203.0.113.9:5000"),
            ("[2001:db9::1]:5000", &["198.51.100.7"], "[2001:db9::1]:5000"),
            ("10.1.2.3:5000", &[], "10.1.2.3:5000"),
            ("10.1.2.3:5000", &[""], "10.1.2.3:5000"),
            ("10.1.2.3:5000", &["198.51.100.7"], "198.51.100.7"),
            ("10.1.2.3:5000", &["198.51.100.7:443"], "198.51.100.7:443"),
            ("[2001:db8::5]:5000", &["2001:db9::7"], "2001:db9::7"),
            ("[2001:db8::5]:5000", &["[2001:db9::7]"], "2001:db9::7"),
            ("[2001:db8::5]:5000", &["[2001:db9::7]:99"], "[2001:db9::7]:99"),
            // An IPv4 client of a socket that listens on both.
            ("[::ffff:10.1.2.3]:5000", &["::ffff:198.51.100.7"], "198.51.100.7"),
            ("[::ffff:203.0.113.9]:5000", &["198.51.100.7"], "203.0.113.9:5000"),
            // What the client itself wrote stands to the left.
            ("10.1.2.3:5000", &["1.1.1.1, 198.51.100.7"], "198.51.100.7"),
            ("10.1.2.3:5000", &["1.1.1.1", "198.51.100.7"], "198.51.100.7"),
            ("10.1.2.3:5000", &["1.1.1.1, 198.51.100.7 ,10.9.9.9,192.0.2.1"], "198.51.100.7"),
            ("10.1.2.3:5000", &["1.1.1.1, 198.51.100.7", "10.9.9.9", ",", "192.0.2.1,"], "198.51.100.7"),
            ("10.1.2.3:5000", &["10.3.3.3, 10.2.2.2"], "10.3.3.3"),
            // Garbage names nobody, and nothing left of it is believed.
            ("10.1.2.3:5000", &["198.51.100.7, unknown"], "10.1.2.3:5000"),
            ("10.1.2.3:5000", &["198.51.100.7, unknown, 10.2.2.2"], "10.2.2.2"),
            ("10.1.2.3:5000", &["unknown, 198.51.100.7"], "198.51.100.7"),
            ("10.1.2.3:5000", &["198.51.100.7:99999"], "10.1.2.3:5000"),
            ("10.1.2.3:5000", &["[198.51.100.7]"], "10.1.2.3:5000"),
            ("10.1.2.3:5000", &["fe80::1%eth0"], "10.1.2.3:5000"),
            ("10.1.2.3:5000", &["198.51.100.7; rm"], "10.1.2.3:5000"),
        ];
        for (peer, lines, expected) in cases {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(FORWARDED_FOR, line.parse().unwrap());
            }
            let peer: SocketAddr = peer.parse().unwrap();
            let address = ClientAddress::of(peer, &headers, &trusted);
            assert_eq!(address.to_string(), expected, "{peer} {lines:?}");
            let untrusted = ClientAddress::of(peer, &headers, &[]);
            assert_eq!((untrusted.ip(), untrusted.from_trusted_proxy()), (peer.ip().to_canonical(), false));
            assert_eq!(address.from_trusted_proxy(), trusted.iter().any(|net| net.contains(&untrusted.ip())));
        }
        let mut headers = HeaderMap::new();
        headers.append(FORWARDED_FOR, HeaderValue::from_static("198.51.100.7"));
        headers.append(FORWARDED_FOR, HeaderValue::from_bytes(b"\xff").unwrap());
        let address = ClientAddress::of("10.1.2.3:5".parse().unwrap(), &headers, &trusted);
        assert_eq!(address.to_string(), "10.1.2.3:5");
    }
}
