//! Cores, time on them, memory, and what machine this is.

use std::{collections::HashMap, ffi::OsString, fs, time::Duration};

use anyhow::{Context as _, Result};
use rustix::thread::{CpuSet, sched_setaffinity};

/// Keeps this thread, and what it starts from now on, on one core.
///
/// # Errors
/// When the machine has no such core.
pub fn pin(core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).with_context(|| format!("cannot run on core {core}"))
}

/// Lets this thread, and what it starts from now on, run on any core.
///
/// # Errors
/// When the system refuses.
pub fn unpin() -> Result<()> {
    let mut cores = CpuSet::new();
    // The system passes over cores that are not there.
    (0..CpuSet::MAX_CPU.min(1024)).for_each(|core| cores.set(core));
    sched_setaffinity(None, &cores).context("cannot run on all cores")
}

/// Runs `start` on `core`, so that what it starts stays there, and comes back to `own_core`.
///
/// # Errors
/// When the machine has no such core, or the start fails.
pub fn on_core<T>(core: usize, own_core: usize, start: impl FnOnce() -> Result<T>) -> Result<T> {
    pin(core)?;
    let started = start();
    pin(own_core)?;
    started
}

/// How long each thread of a process has been on a core.
#[derive(Debug, Clone)]
pub struct CoreTimes(HashMap<OsString, u64>);

impl CoreTimes {
    /// Of a process now.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn of(pid: u32) -> Result<Self> {
        let mut times = HashMap::new();
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            let thread = thread?;
            // A thread may end meanwhile.
            let Ok(text) = fs::read_to_string(thread.path().join("schedstat")) else { continue };
            let nanos = text.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0);
            times.insert(thread.file_name(), nanos);
        }
        Ok(Self(times))
    }

    /// What all threads together have spent since then. What one that has ended meanwhile spent is not known.
    #[must_use]
    pub fn since(&self, before: &Self) -> Duration {
        let earlier = |thread| before.0.get(thread).copied().unwrap_or(0);
        let spent = self.0.iter().map(|(thread, nanos)| nanos.saturating_sub(earlier(thread)));
        Duration::from_nanos(spent.sum())
    }
}

/// Resident memory of a process in KiB.
///
/// # Errors
/// When the process is gone.
pub fn resident_kib(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).context("no number")?.parse()?)
}

/// The machine in a line: processor, cores, memory, kernel.
#[must_use]
pub fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown processor");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = read("/proc/meminfo");
    let kib: u64 = memory.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
    // What a distribution or a host adds to the version says nothing about speed.
    let kernel = read("/proc/sys/kernel/osrelease");
    let kernel = kernel.trim().split('-').next().unwrap_or_default();
    format!(
        "{}, {cores} cores, {} GiB, Linux {kernel}",
        model.trim_start_matches([' ', '\t', ':']),
        kib.div_ceil(1024 * 1024)
    )
}

/// Whether a tracer is attached to a process.
///
/// # Errors
/// When the process is gone.
pub fn is_traced(pid: u32) -> Result<bool> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(text.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|tracer| tracer.trim() != "0")))
}

/// Name and count of a line of `strace -c`.
#[must_use]
pub fn traced_calls(line: &str) -> Option<(String, u64)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (first, name) = (fields.first()?, fields.last()?);
    first.parse::<f64>().ok()?;
    let count = fields.get(3)?.parse().ok()?;
    (*name != "total").then(|| ((*name).to_owned(), count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_ended_takes_nothing_away() {
        let times = |list: &[(&str, u64)]| {
            CoreTimes(list.iter().map(|(thread, nanos)| ((*thread).into(), *nanos)).collect())
        };
        let before = times(&[("1", 100), ("2", 5000)]);
        assert_eq!(times(&[("1", 170), ("3", 30)]).since(&before), Duration::from_nanos(100));
    }

    #[test]
    fn calls_are_read_from_a_table() {
        let table = "% time     seconds  usecs/call     calls    errors syscall\n\
            ------ ----------- ----------- --------- --------- ----------------\n \
            98.11    0.031000           3     10000           sendto\n  \
            1.00    0.000100           1        21         7 epoll_wait\n\
            100.00    0.031100                10021         7 total\n";
        let calls: Vec<_> = table.lines().filter_map(traced_calls).collect();
        assert_eq!(calls, [("sendto".to_owned(), 10_000), ("epoll_wait".to_owned(), 21)]);
    }
}
