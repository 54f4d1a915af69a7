//! What the system says about processes.

use std::time::Duration;

/// User and system time since the process's start; zero when it has gone.
#[must_use]
pub fn cpu(pid: u32) -> Duration {
    let ticks = std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| parse_ticks(&stat))
        .unwrap_or_default();
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_micros(ticks * 1_000_000 / per_second)
}

/// Fields 14 and 15. The second field may itself hold spaces and parentheses.
fn parse_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Peak resident memory, in bytes.
#[must_use]
pub fn peak_bytes(pid: u32) -> u64 {
    status(pid, "VmHWM:")
}

/// Memory that the machine has left, in bytes.
#[must_use]
pub fn available_bytes() -> u64 {
    memory_info("MemAvailable:")
}

fn memory_info(field: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    text.lines().find_map(|line| kib(line, field)).unwrap_or_default()
}

/// The bytes in a line such as `VmHWM:  17 kB`.
fn kib(line: &str, field: &str) -> Option<u64> {
    let number = line.strip_prefix(field)?.trim().strip_suffix("kB")?;
    Some(number.trim().parse::<u64>().ok()? * 1024)
}

/// Memory of its own that is resident now, without mapped files, in bytes.
#[must_use]
pub fn anonymous_bytes(pid: u32) -> u64 {
    status(pid, "RssAnon:")
}

fn status(pid: u32, field: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    text.lines().find_map(|line| kib(line, field)).unwrap_or_default()
}

/// The machine in a line: processor, cores, memory, system.
#[must_use]
pub fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown processor", |rest| {
            rest.trim_start_matches([' ', '\t', ':'])
        });
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = memory_info("MemTotal:") >> 30;
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{model}, {cores} cores, {memory} GiB, Linux {}", kernel.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_a_strange_name() {
        assert_eq!(parse_ticks("7 (a) b) S 1 2 3 4 5 6 7 8 9 10 30 12 13"), Some(42));
        assert_eq!(parse_ticks(""), None);
    }

    #[test]
    fn this_process_has_memory() {
        let own = std::process::id();
        assert!(peak_bytes(own) > 0);
        assert!(anonymous_bytes(own) > 0);
    }
}
