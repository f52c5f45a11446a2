//! Programs that have to be made before they can be run: a Python environment, packages
//! of Node, and compiled Go and Java sources. They are kept in the build directory, named by what
//! they were made from.

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use super::process::{command, run};

/// Makers do not work side by side; a lock file would only be needed between test
/// binaries, and there is one.
static MAKING: Mutex<()> = Mutex::new(());

/// Python from a virtual environment with `requirements.txt` installed, or the one
/// that `REMORA_TEST_PYTHON` names.
pub(crate) fn python() -> PathBuf {
    if let Some(python) = std::env::var_os("REMORA_TEST_PYTHON") {
        return python.into();
    }
    let requirements = include_str!("../requirements.txt");
    let dir = make("python", requirements, |dir| {
        run(command("python3", &["-m", "venv"]).arg(dir));
        let list = dir.join("requirements.txt");
        fs::write(&list, requirements).unwrap();
        run(command(dir.join("bin/pip"), &["install", "--quiet", "-r"]).arg(list));
    });
    dir.join("bin/python3")
}

/// The program built from one Go source file.
pub(crate) fn go(name: &str, source: &str) -> PathBuf {
    let dir = make(&format!("go-{name}"), source, |dir| {
        let file = dir.join(format!("{name}.go"));
        fs::write(&file, source).unwrap();
        run(command("go", &["build", "-o"])
            .arg(dir.join(name))
            .arg(file)
            .current_dir(dir)
            .env("GO111MODULE", "off")
            // Where Debian's packages of Go libraries are.
            .env("GOPATH", "/usr/share/gocode")
            .env("GOCACHE", cache().join("go-cache")));
    });
    dir.join(name)
}

/// The directory `node_modules` with the packages of `package.json` from npm.
pub(crate) fn node_modules() -> PathBuf {
    let packages = include_str!("../package.json");
    let dir = make("node", packages, |dir| {
        fs::write(dir.join("package.json"), packages).unwrap();
        let arguments = ["install", "--ignore-scripts", "--no-audit", "--no-fund"];
        run(command("npm", &arguments).current_dir(dir));
    });
    dir.join("node_modules")
}

/// The class path of one compiled Java source file.
pub(crate) fn java(class: &str, source: &str) -> PathBuf {
    make(&format!("java-{class}"), source, |dir| {
        let file = dir.join(format!("{class}.java"));
        fs::write(&file, source).unwrap();
        run(Command::new("javac").arg("-d").arg(dir).arg(file));
    })
}

/// A file of `len` bytes, in the build directory.
pub(crate) fn file_of(len: u64) -> PathBuf {
    let path = cache().join(format!("{len}.bin"));
    let _guard = MAKING
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    if fs::metadata(&path).map(|meta| meta.len()).ok() != Some(len) {
        fs::create_dir_all(cache()).unwrap();
        File::create(&path).unwrap().set_len(len).unwrap();
    }
    path
}

fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("privileged")
}

/// The directory that `build` fills, made once for every `source`.
fn make(name: &str, source: &str, build: impl FnOnce(&Path)) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    source.hash(&mut hasher);
    let dir = cache().join(format!("{name}-{:016x}", hasher.finish()));
    let _guard = MAKING
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let done = dir.join(".done");
    if !done.exists() {
        // Written past the test framework, which keeps what a test prints until it fails.
        let _ = writeln!(std::io::stderr(), "installing or building {name}");
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        build(&dir);
        File::create(done).unwrap();
    }
    dir
}
