//! Application servers: what they serve is an argument, `module:object` or a directory.

use super::operands::{is_number, is_option};
use super::{Command, GENERIC, base, stem, unversioned};

/// Scripts and modules that serve the application named in their arguments.
pub(super) const SERVERS: &[&str] = &[
    "gunicorn",
    "uvicorn",
    "hypercorn",
    "daphne",
    "granian",
    "waitress-serve",
    "waitress",
    "flask",
    "fastapi",
    "celery",
    "uwsgi",
    "puma",
    "rackup",
    "rails",
    "unicorn",
    "thin",
    "falcon",
    "plackup",
    "starman",
    "twiggy",
    "hypnotoad",
    "morbo",
    "sanic",
    "quart",
    "cheroot",
    "twist",
    "twistd",
];

/// Those that take a module without its object.
const MODULE_SERVERS: &[&str] = &[
    "gunicorn",
    "uvicorn",
    "hypercorn",
    "daphne",
    "granian",
    "waitress-serve",
    "waitress",
    "sanic",
    "cheroot",
];

/// Name for a script that is run with `args`: a server is seen through to what it serves, and so
/// is a tool that was installed (in a `bin` directory) where an argument names a program.
pub(super) fn run(command: &Command<'_>, path: &str, args: &[&str]) -> String {
    let tool = unversioned(stem(base(path)));
    if SERVERS.contains(&tool) {
        return name(command, tool, args);
    }
    let installed = path
        .rsplit('/')
        .nth(1)
        .is_some_and(|parent| matches!(parent, "bin" | "sbin"));
    let served = if installed {
        served(command, args)
    } else {
        None
    };
    served.unwrap_or_else(|| command.script(path))
}

/// The same for a module (`python -m`).
pub(super) fn module_run(command: &Command<'_>, module: &str, args: &[&str]) -> String {
    if SERVERS.contains(&module) {
        return name(command, module, args);
    }
    let own = module.trim_end_matches(".__main__");
    served(command, args)
        .filter(|_| args.iter().any(|arg| is_target(arg)))
        .unwrap_or_else(|| own.to_owned())
}

/// Name for the server `server` run with `args`.
pub(super) fn name(command: &Command<'_>, server: &str, args: &[&str]) -> String {
    let app = match server {
        "flask" | "celery" | "quart" => option(args, &["--app", "-A"]).and_then(module),
        "uwsgi" => option(args, &["--wsgi-file", "--file", "-w", "--module"]).and_then(module),
        "twist" | "twistd" => option(args, &["--wsgi", "--class"]).and_then(module),
        _ => None,
    };
    // Only some take the name of a module alone; of others a word is a subcommand.
    let takes_modules = MODULE_SERVERS.contains(&server);
    let lone = || lone_module(command, args).filter(|_| takes_modules);
    app.or_else(|| served(command, args))
        .or_else(|| lone().and_then(|arg| module(arg)))
        .or_else(|| command.directory().map(str::to_owned))
        .unwrap_or_else(|| server.to_owned())
}

/// What arguments say is served: `module:object`, or a script.
fn served(command: &Command<'_>, args: &[&str]) -> Option<String> {
    args.iter()
        .find(|arg| is_target(arg))
        .and_then(|arg| module(arg))
        .or_else(|| Some(command.script(served_script(command, args)?)))
}

/// The script among the arguments: one that is no option's value, or has the ending of what only
/// can be an application.
fn served_script<'a>(command: &Command<'_>, args: &[&'a str]) -> Option<&'a str> {
    let before = std::iter::once(&"").chain(args);
    let mut pairs = before
        .zip(args)
        .filter(|(_, arg)| !is_option(arg) && is_script(arg));
    let (_, script) = pairs.find(|(before, arg)| {
        let value = is_option(before) && !before.contains('=');
        let settings = value && arg.ends_with(".py");
        !settings && (command.file)(arg) != Some(false)
    })?;
    Some(script)
}

/// The telling part of `package.module:object`.
pub(super) fn module(target: &str) -> Option<String> {
    let module = target.split([':', '(']).next()?;
    let module = base(module).trim_end_matches(".py");
    let mut parts = module.rsplit('.').filter(|part| !part.is_empty());
    let last = parts.next()?;
    // `shop.wsgi` is shop's.
    Some(match parts.next() {
        Some(parent) if GENERIC.contains(&last) => parent.to_owned(),
        Some(_) => module.to_owned(),
        None => last.to_owned(),
    })
}

/// `module:object`, not `host:port`, a URL or `unix:/path`.
fn is_target(arg: &str) -> bool {
    arg.split_once(':').is_some_and(|(module, object)| {
        let object = object.split('(').next().unwrap_or("");
        is_dotted(module.trim_end_matches(".py")) && is_dotted(object) && module != "unix"
    })
}

/// A module without its object: an argument that is no option's value, or the last one, or one
/// that is a module of the process (`--preload shop`).
fn lone_module<'a>(command: &Command<'_>, args: &'a [&'a str]) -> Option<&'a &'a str> {
    let is_module = |arg: &str| {
        let path = arg.replace('.', "/");
        let there = |ending: &str| (command.file)(&format!("{path}{ending}"));
        Some(there(".py")? || there("/__init__.py")?)
    };
    let before = std::iter::once(&"").chain(args);
    let candidates = before
        .zip(args)
        .filter(|(_, arg)| !is_option(arg) && !is_number(arg) && is_dotted(arg) && !is_script(arg));
    let mut sure = None;
    for (before, arg) in candidates {
        let value = is_option(before) && !before.contains('=');
        match is_module(arg) {
            Some(true) => return Some(arg),
            None if !value => sure = sure.or(Some(arg)),
            _ => {}
        }
    }
    sure
}

fn is_dotted(text: &str) -> bool {
    !text.is_empty()
        && text.split('.').all(|part| {
            part.starts_with(|c: char| c.is_alphabetic() || c == '_')
                && part.chars().all(|c| c.is_alphanumeric() || c == '_')
        })
}

fn is_script(arg: &str) -> bool {
    [".py", ".psgi", ".ini", ".pl"]
        .iter()
        .any(|ending| arg.ends_with(ending))
}

/// The value of the first of `names`, `--name value` or `--name=value`.
fn option<'a>(args: &[&'a str], names: &[&str]) -> Option<&'a str> {
    args.iter().enumerate().find_map(|(at, arg)| {
        if names.contains(arg) {
            return args.get(at + 1).copied();
        }
        let (name, value) = arg.split_once('=')?;
        names.contains(&name).then_some(value)
    })
}
