//! The host: OpenTelemetry `host.*` and `os.*` resource attributes.

use std::fs;

/// What identifies this host. Unknown parts are `None`.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct HostInfo {
    /// `host.id`: `/etc/machine-id`, as the conventions ask.
    pub id: Option<String>,
    /// `host.name`.
    pub name: Option<String>,
    /// `host.arch`, in the conventions' words.
    pub arch: &'static str,
    /// `os.name`, such as `Debian GNU/Linux`.
    pub os_name: Option<String>,
    /// `os.version`, such as `12`.
    pub os_version: Option<String>,
    /// `os.description`, such as `Debian GNU/Linux 12 (bookworm)`.
    pub os_description: Option<String>,
    /// Release of the running kernel.
    pub kernel: Option<String>,
    /// Changes with every boot: tells monotonic clocks of different boots apart.
    pub boot_id: Option<String>,
}

impl HostInfo {
    /// Reads what this host says of itself. In a container the host's files are looked
    /// for through process 1 first, which with the host's process ids is the host's.
    #[must_use]
    pub fn read() -> Self {
        let os = either("etc/os-release").or_else(|| either("usr/lib/os-release"));
        let release = |key| os.as_deref().and_then(|text| os_release(text, key));
        Self {
            id: either("etc/machine-id")
                .or_else(|| either("var/lib/dbus/machine-id"))
                .and_then(|text| line(&text))
                .filter(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())),
            name: file("/proc/sys/kernel/hostname").and_then(|text| line(&text)),
            arch: arch(std::env::consts::ARCH),
            os_name: release("NAME"),
            os_version: release("VERSION_ID"),
            os_description: release("PRETTY_NAME"),
            kernel: file("/proc/sys/kernel/osrelease").and_then(|text| line(&text)),
            boot_id: file("/proc/sys/kernel/random/boot_id").and_then(|text| line(&text)),
        }
    }

    /// The attributes that are known, by their names in the conventions.
    pub fn attributes(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("host.id", self.id.as_deref()),
            ("host.name", self.name.as_deref()),
            ("host.arch", Some(self.arch)),
            ("os.type", Some("linux")),
            ("os.name", self.os_name.as_deref()),
            ("os.version", self.os_version.as_deref()),
            ("os.description", self.os_description.as_deref()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }
}

/// A file of the host, or else of the agent's own root.
fn either(path: &str) -> Option<String> {
    file(&format!("/proc/1/root/{path}")).or_else(|| file(&format!("/{path}")))
}

fn file(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn line(text: &str) -> Option<String> {
    let line = text.lines().next()?.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

/// The value of a key of os-release(5).
fn os_release(text: &str, key: &str) -> Option<String> {
    let value = text
        .lines()
        .find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='))?
        .trim();
    let quoted = ['"', '\'']
        .iter()
        .find_map(|&quote| value.strip_prefix(quote)?.strip_suffix(quote));
    let value = quoted.unwrap_or(value).replace('\\', "");
    (!value.is_empty()).then_some(value)
}

/// Rust's names of architectures in the words of the conventions.
fn arch(name: &'static str) -> &'static str {
    match name {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "arm" => "arm32",
        "powerpc64" => "ppc64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_release_is_unquoted() {
        let text = "# x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME='Debian'\nVERSION_ID=12\nID=\n";
        let get = |key| os_release(text, key);
        assert_eq!(
            get("PRETTY_NAME").as_deref(),
            Some("Debian GNU/Linux 12 (bookworm)")
        );
        assert_eq!(get("NAME").as_deref(), Some("Debian"));
        assert_eq!(get("VERSION_ID").as_deref(), Some("12"));
        assert_eq!(get("ID"), None);
        assert_eq!(get("VERSION"), None);
    }

    #[test]
    fn this_host_has_a_name_and_a_boot() {
        let host = HostInfo::read();
        assert!(host.name.is_some() && host.kernel.is_some());
        assert_eq!(host.boot_id.as_ref().map(String::len), Some(36));
        assert!(host.attributes().any(|pair| pair == ("os.type", "linux")));
    }
}
