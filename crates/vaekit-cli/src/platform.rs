//! What differs between operating systems.

use tempfile::Builder;

/// Lets a temporary file become an output that is as readable as any new file; by default only its owner may read it.
#[cfg(unix)]
pub(crate) fn readable_by_all(builder: &mut Builder<'_, '_>) {
    use std::os::unix::fs::PermissionsExt;
    builder.permissions(std::fs::Permissions::from_mode(0o666));
}

/// Lets a temporary file become an output; nothing to do here.
#[cfg(not(unix))]
pub(crate) fn readable_by_all(_builder: &mut Builder<'_, '_>) {}

/// Most memory this process has held so far, in bytes, where the system tells (Linux).
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Memory that can be had without swapping, in bytes, where the system tells; a container's where that is less.
pub fn available_memory() -> Option<u64> {
    use sysinfo::{MemoryRefreshKind, RefreshKind, System};
    let memory = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(memory).ok()?;
    let free = system.cgroup_limits().map_or(u64::MAX, |limits| limits.free_memory);
    Some(system.available_memory().min(free)).filter(|&bytes| bytes > 0)
}

/// Lets [`peak_memory`] begin anew with what is held now; `false` where the system cannot (Linux can).
pub fn reset_peak_memory() -> bool {
    // proc(5): 5 resets the peak resident set size.
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn some_memory_can_be_had() {
        let available = super::available_memory();
        assert!(available.is_none_or(|bytes| (1 << 20..1 << 50).contains(&bytes)), "{available:?}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn peak_memory_is_some_megabytes() {
        let peak = super::peak_memory().unwrap();
        assert!((1 << 20..1 << 40).contains(&peak), "{peak}");
    }
}
