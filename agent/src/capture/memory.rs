//! What the kernel keeps for the agent.

/// Kernel memory of all maps and programs that this process holds, bytes, as the kernel
/// accounts it. `None` without procfs.
#[must_use]
pub fn kernel_memory() -> Option<u64> {
    let entries = std::fs::read_dir("/proc/self/fdinfo").ok()?;
    let mut total = 0u64;
    for entry in entries.flatten() {
        // Descriptors come and go; one that is gone holds nothing.
        let Ok(text) = std::fs::read_to_string(entry.path()) else {
            continue;
        };
        let bytes = text.lines().find_map(|line| line.strip_prefix("memlock:"));
        total += bytes
            .and_then(|bytes| bytes.trim().parse::<u64>().ok())
            .unwrap_or(0);
    }
    Some(total)
}
