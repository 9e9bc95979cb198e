//! What the machine says: the inputs of the settings that are not flags or variables.

use std::{
    io::IsTerminal,
    net::{Ipv4Addr, UdpSocket},
};

use crate::settings::Surroundings;

/// A soft limit that cannot be read is taken for the usual one.
const USUAL_OPEN_FILES: u64 = 1024;
/// Memory that cannot be read is taken for this much, bytes.
const USUAL_MEMORY: u64 = 1 << 30;

/// Asks the machine. What it does not say is left at a value that works.
#[must_use]
pub fn detect() -> Surroundings {
    let host_name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    Surroundings {
        host_name: host_name.trim().to_owned(),
        ip: address().unwrap_or(Ipv4Addr::LOCALHOST.to_string()),
        open_files: open_files(&limits).unwrap_or(USUAL_OPEN_FILES),
        memory: memory(),
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

/// The least of what the container's limits and the machine allow, in bytes.
fn memory() -> u64 {
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let machine = physical(&text("/proc/meminfo")).unwrap_or(USUAL_MEMORY);
    // A container sees its own group as the root; a process outside one finds its group by name.
    let groups = text("/proc/self/cgroup");
    let group = group_of(&groups).unwrap_or_default();
    let files = [
        "/sys/fs/cgroup/memory.max".to_owned(),
        format!("/sys/fs/cgroup{group}/memory.max"),
        "/sys/fs/cgroup/memory/memory.limit_in_bytes".to_owned(),
    ];
    files.iter().filter_map(|path| limit(&text(path))).fold(machine, u64::min)
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
fn physical(meminfo: &str) -> Option<u64> {
    let rest = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = rest.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

/// The group of the unified hierarchy in `/proc/self/cgroup`.
fn group_of(cgroup: &str) -> Option<&str> {
    cgroup.lines().find_map(|line| line.strip_prefix("0::")).map(str::trim).filter(|group| *group != "/")
}

/// A limit file of version 1 or 2; `max` is no limit.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok()
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

    #[test]
    fn the_memory_limit_is_read() {
        assert_eq!(physical("MemTotal:       2048 kB\nMemFree: 1 kB\n"), Some(2 << 20));
        assert_eq!(group_of("12:cpu:/a\n0::/user.slice/b\n"), Some("/user.slice/b"));
        assert_eq!(group_of("0::/\n"), None);
        assert_eq!((limit("max\n"), limit("1048576\n"), limit("")), (None, Some(1 << 20), None));
        assert!(detect().memory > 0);
    }
}
