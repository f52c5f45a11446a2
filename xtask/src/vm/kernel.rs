//! Fetches Debian's cloud kernels without touching the system's package lists.

use crate::process::output;
use crate::workspace;
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The kernels of the matrix: series, suite that carries it, and name of the package
/// with `vmlinuz` in it, around the version.
pub(crate) const MATRIX: [Kernel; 4] = [
    Kernel {
        series: "5.10",
        suite: "bullseye",
        prefix: "linux-image-5.10.",
    },
    Kernel {
        series: "6.1",
        suite: "bookworm",
        prefix: "linux-image-6.1.",
    },
    Kernel {
        series: "6.12",
        suite: "trixie",
        prefix: "linux-image-6.12.",
    },
    Kernel {
        series: "7.2",
        suite: "sid",
        prefix: "linux-binary-unsigned-7.2.",
    },
];

const SUFFIX: &str = "-cloud-amd64";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// One kernel of the matrix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Kernel {
    /// Major and minor version.
    pub(crate) series: &'static str,
    suite: &'static str,
    prefix: &'static str,
}

/// Downloads what is not there yet; returns the `vmlinuz` of every kernel.
///
/// # Errors
/// No Debian mirror can be reached, or a suite no longer carries the series.
pub(crate) fn fetch(kernels: &[Kernel], refresh: bool) -> Result<Vec<PathBuf>> {
    let dir = workspace::target().join("vm");
    let home = |kernel: &Kernel| dir.join("kernels").join(kernel.series);
    let missing: Vec<Kernel> = kernels
        .iter()
        .copied()
        .filter(|k| refresh || vmlinuz(&home(k)).is_none())
        .collect();
    if !missing.is_empty() {
        let apt = Apt::new(&dir.join("apt"), &missing)?;
        for kernel in &missing {
            apt.unpack(kernel, &home(kernel))?;
        }
    }
    kernels
        .iter()
        .map(|kernel| vmlinuz(&home(kernel)).with_context(|| format!("no {}", kernel.series)))
        .collect()
}

/// The kernel below `dir`: `vmlinuz`, or with the version behind it. Packages disagree
/// about the folder.
fn vmlinuz(dir: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path());
    let (folders, files): (Vec<_>, Vec<_>) = entries
        .filter(|path| !path.is_symlink())
        .partition(|path| path.is_dir());
    let is_kernel = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz"))
    };
    files
        .into_iter()
        .find(is_kernel)
        .or_else(|| folders.iter().find_map(|dir| vmlinuz(dir)))
}

/// An apt with its own sources and state.
struct Apt {
    dir: PathBuf,
}

impl Apt {
    fn new(dir: &Path, kernels: &[Kernel]) -> Result<Self> {
        for sub in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(dir.join(sub))?;
        }
        let mirror = mirror()?;
        let sources: String = kernels
            .iter()
            .map(|k| {
                format!(
                    "deb [arch=amd64 signed-by={KEYRING}] {mirror} {} main\n",
                    k.suite
                )
            })
            .collect();
        fs::write(dir.join("sources.list"), sources)?;
        fs::write(dir.join("status"), "")?;
        let apt = Self {
            dir: dir.to_owned(),
        };
        crate::process::say(&format!(
            "reading the package lists of {mirror} into {}",
            dir.display()
        ));
        output(apt.command("apt-get").args(["-qq", "update"]))?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let mut option = |key: &str, value: &Path| {
            command.arg("-o").arg(format!("{key}={}", value.display()));
        };
        option("Dir::Etc::sourcelist", &self.dir.join("sources.list"));
        option("Dir::Etc::sourceparts", Path::new("/nonexistent"));
        option("Dir::State::Lists", &self.dir.join("lists"));
        option("Dir::State::status", &self.dir.join("status"));
        option("Dir::Cache", &self.dir.join("cache"));
        option("Acquire::Languages", Path::new("none"));
        option("APT::Sandbox::User", Path::new("root"));
        option("Acquire::Retries", Path::new("3"));
        command
    }

    /// Downloads the newest package of the series and unpacks it into `home`.
    fn unpack(&self, kernel: &Kernel, home: &Path) -> Result<()> {
        let package = self.newest(kernel)?;
        crate::process::say(&format!(
            "downloading {package} from Debian {}",
            kernel.suite
        ));
        let download = self.dir.join("download").join(kernel.series);
        clear(&download)?;
        output(
            self.command("apt-get")
                .args(["download", &package])
                .current_dir(&download),
        )?;
        let deb = fs::read_dir(&download)?
            .next()
            .context("apt-get download left no file")??;
        let unpacked = download.join("unpacked");
        output(
            Command::new("dpkg")
                .arg("-x")
                .arg(deb.path())
                .arg(&unpacked),
        )?;
        // Only the kernel itself: the test machine loads no modules.
        let file = vmlinuz(&unpacked).with_context(|| format!("no vmlinuz in {package}"))?;
        clear(home)?;
        fs::rename(file, home.join(format!("vmlinuz-{package}")))?;
        Ok(fs::remove_dir_all(&download)?)
    }

    fn newest(&self, kernel: &Kernel) -> Result<String> {
        let names = output(self.command("apt-cache").args(["pkgnames", kernel.prefix]))?;
        let newest = names
            .lines()
            .filter(|name| name.ends_with(SUFFIX))
            .max_by_key(|name| numbers(name))
            .map(str::to_owned);
        match newest {
            Some(name) => Ok(name),
            None => bail!("Debian {} has no {}*{SUFFIX}", kernel.suite, kernel.prefix),
        }
    }
}

/// The numbers in a name, for comparing versions.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit())
        .filter_map(|part| part.parse().ok())
        .collect()
}

/// The Debian mirror that this system uses.
fn mirror() -> Result<String> {
    let format = "$(ORIGIN) $(SITE) $(COMPONENT)";
    let targets = output(Command::new("apt-get").args(["indextargets", "--format", format]))?;
    targets
        .lines()
        .filter_map(|line| line.strip_prefix("Debian ")?.strip_suffix(" main"))
        .find(|site| !site.contains("security"))
        .map(str::to_owned)
        .context("apt knows no Debian mirror (run `apt-get update` first)")
}

fn clear(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    Ok(fs::create_dir_all(dir)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        let older = numbers("linux-image-6.12.94+deb13-cloud-amd64");
        let newer = numbers("linux-image-6.12.107+deb13-cloud-amd64");
        assert!(older < newer);
    }
}
