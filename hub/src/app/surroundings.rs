//! What the machine says: the inputs of the settings that are not flags or variables.

use std::{
    io::IsTerminal,
    net::{Ipv4Addr, UdpSocket},
};

use crate::settings::Surroundings;

/// A soft limit that cannot be read is taken for the usual one.
const USUAL_OPEN_FILES: u64 = 1024;

/// Asks the machine. What it does not say is left at a value that works.
#[must_use]
pub fn detect() -> Surroundings {
    let host_name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    Surroundings {
        host_name: host_name.trim().to_owned(),
        ip: address().unwrap_or(Ipv4Addr::LOCALHOST.to_string()),
        open_files: open_files(&limits).unwrap_or(USUAL_OPEN_FILES),
        terminal: std::io::stderr().is_terminal(),
    }
}

/// The address that leads out of this machine. Connecting a datagram socket sends nothing: it only chooses a route.
fn address() -> Option<String> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // TEST-NET-1 (RFC 5737) is nobody's address.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    Some(socket.local_addr().ok()?.ip().to_string())
}

/// The soft limit in the text of `/proc/self/limits`.
fn open_files(limits: &str) -> Option<u64> {
    let rest = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match rest.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_read() {
        let text =
            "Limit   Soft Limit  Hard Limit  Units\nMax open files            1024      4096      files\n";
        assert_eq!(open_files(text), Some(1024));
        assert_eq!(open_files("Max open files unlimited unlimited files"), Some(u64::MAX));
        assert_eq!(open_files(""), None);
        assert!(detect().open_files > 0);
    }
}
