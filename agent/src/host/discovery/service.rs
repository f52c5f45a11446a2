//! A sensible `service.name` from a command line.
//!
//! A native program is named after its executable. An interpreter is seen through to
//! the script, module, archive or application it runs, and where that has a name that
//! says nothing (`main.py`, `index.js`, `app.jar`), to the directory it lies in.

mod application;
mod interpreters;
pub(super) mod java;
mod operands;
mod shell;
mod titles;

/// Bytes kept of a name.
const MAX_NAME: usize = 128;
/// Commands within commands (`sh -c`, `busybox`, loaders) that are followed.
const MAX_DEPTH: u8 = 4;

/// What is known of a running command.
#[derive(Clone, Copy)]
pub(super) struct Command<'a> {
    /// Arguments, the program's own name first.
    pub(super) args: &'a [&'a str],
    /// Path of the executable.
    pub(super) exe: Option<&'a str>,
    /// Command name as the kernel shows it.
    pub(super) comm: &'a str,
    /// Working directory.
    pub(super) cwd: Option<&'a str>,
    /// Name in the `package.json` of a directory.
    pub(super) package: &'a dyn Fn(&str) -> Option<String>,
    /// Whether a path, from the working directory on, is a regular file of the process. `None`
    /// if nobody can tell.
    pub(super) file: &'a dyn Fn(&str) -> Option<bool>,
    /// What is in such a file, bounded.
    pub(super) read: &'a dyn Fn(&str) -> Option<Vec<u8>>,
    /// A name that its environment gives to a Java program (`JAVA_TOOL_OPTIONS`).
    pub(super) declared: Option<&'a str>,
    /// Commands around this one.
    pub(super) depth: u8,
}

/// Names the service that a command is.
pub(super) fn name(command: &Command<'_>) -> String {
    let program = command.program();
    let name = titles::name(command, program)
        .or_else(|| interpreters::name(command, program))
        .unwrap_or_else(|| program.to_owned());
    let name: String = name.trim().chars().filter(|c| !c.is_control()).collect();
    let end = name.floor_char_boundary(MAX_NAME);
    match &name[..end] {
        // What the OpenTelemetry specification prescribes.
        "" => "unknown_service".to_owned(),
        name => name.to_owned(),
    }
}

/// Whether a command is a worker that Python's `multiprocessing` starts, as `uvicorn` and
/// `hypercorn` do: it says nothing about what works in it.
pub(super) fn is_worker(args: &[&str]) -> bool {
    args.windows(2)
        .any(|pair| pair[0] == "-c" && pair[1].starts_with("from multiprocessing."))
}

impl<'a> Command<'a> {
    /// The executable's name; if it is unknown, what the program was called by.
    fn program(&self) -> &'a str {
        let called = self.args.first().map(|arg| arg.trim_start_matches('-'));
        let called = called.map(|arg| arg.split(' ').next().unwrap_or(arg).trim_end_matches(':'));
        [self.exe.map(without_deleted), called, Some(self.comm)]
            .into_iter()
            .flatten()
            .map(|path| base(path).trim_end_matches(".exe"))
            .find(|name| !name.is_empty())
            .unwrap_or("")
    }

    /// The name of the working directory, if that is more than a place.
    fn directory(&self) -> Option<&'a str> {
        self.cwd.and_then(meaningful_directory)
    }

    /// Another command that this one stands for.
    fn inner(&self, args: &[&str]) -> Option<String> {
        let (first, depth) = (args.first()?, self.depth + 1);
        if depth > MAX_DEPTH || first.is_empty() {
            return None;
        }
        let inner = Command {
            args,
            exe: Some(first),
            comm: "",
            cwd: self.cwd,
            package: self.package,
            file: self.file,
            read: self.read,
            declared: self.declared,
            depth,
        };
        Some(name(&inner))
    }

    /// Name for the script or archive at `path`.
    fn script(&self, path: &str) -> String {
        let name = stem(base(path));
        if !GENERIC.contains(&name) {
            return name.to_owned();
        }
        let parent = path.rsplit_once('/').map(|(parent, _)| parent);
        let directory = match parent {
            None | Some("." | "./") => self.directory(),
            Some(parent) if parent.starts_with('/') => meaningful_directory(parent),
            // `src/index.js`: the nearest telling name, below the working directory first.
            Some(parent) => meaningful_directory(parent).or_else(|| self.directory()),
        };
        directory.unwrap_or(name).to_owned()
    }
}

/// Names of scripts that say nothing about the service.
const GENERIC: &[&str] = &[
    "__main__",
    "app",
    "application",
    "asgi",
    "boot",
    "bootstrap",
    "cli",
    "config",
    "entrypoint",
    "index",
    "init",
    "main",
    "manage",
    "run",
    "server",
    "start",
    "wsgi",
];

/// Names of directories that say nothing about the service.
const PLACES: &[&str] = &[
    "",
    ".",
    "..",
    "app",
    "apps",
    "bin",
    "build",
    "cmd",
    "code",
    "current",
    "dist",
    "home",
    "html",
    "lib",
    "local",
    "opt",
    "out",
    "public",
    "release",
    "root",
    "sbin",
    "server",
    "service",
    "share",
    "src",
    "srv",
    "target",
    "tmp",
    "usr",
    "var",
    "work",
    "workdir",
    "workspace",
    "www",
];

/// The last part of a path that is more than a place.
fn meaningful_directory(path: &str) -> Option<&str> {
    let part = without_deleted(path)
        .rsplit('/')
        .find(|part| !PLACES.contains(part))?;
    // `/home/NAME` is a person, not a service; mktemp's directories are neither.
    let at = path.find(part)?;
    let parent = path[..at].trim_end_matches('/');
    (parent != "/home" && !part.starts_with("tmp.")).then_some(part)
}

/// The last part of a path.
fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Endings of scripts, modules and archives.
const ENDINGS: &[&str] = &[
    ".py", ".pyc", ".pyz", ".pyw", ".js", ".mjs", ".cjs", ".jsx", ".ts", ".mts", ".cts", ".tsx",
    ".jar", ".war", ".java", ".rb", ".ru", ".php", ".phar", ".dll", ".exe", ".pl", ".psgi", ".sh",
    ".lua", ".exs", ".ex", ".escript", ".R", ".r", ".scm", ".lisp", ".lsp", ".fasl", ".rkt", ".jl",
    ".tcl", ".pro", ".raku", ".clj", ".groovy", ".kts", ".fsx", ".csx", ".nims", ".cr",
];

/// Whether a path ends as programs of interpreters do.
fn has_script_ending(path: &str) -> bool {
    stem(base(path)) != base(path)
}

/// A file name without the ending of a script, module or archive.
fn stem(name: &str) -> &str {
    ENDINGS
        .iter()
        .find_map(|ending| name.strip_suffix(ending))
        .filter(|stem| !stem.is_empty())
        .unwrap_or(name)
}

/// A path as `/proc/PID/exe` shows it once the file was replaced.
fn without_deleted(path: &str) -> &str {
    path.strip_suffix(" (deleted)").unwrap_or(path)
}

/// `php-fpm8.2` → `php-fpm`, `python3.11` → `python`.
fn unversioned(program: &str) -> &str {
    let end = program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
    if end.is_empty() { program } else { end }
}

#[cfg(test)]
mod tests;
