//! Application servers: what they serve is an argument, `module:object` or a directory.

use super::{Command, GENERIC, base};

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
    "hypnotoad",
];

/// Name for the server `server` run with `args`.
pub(super) fn name(command: &Command<'_>, server: &str, args: &[&str]) -> String {
    let app = match server {
        "flask" | "celery" => option(args, &["--app", "-A"]).and_then(module),
        "puma" | "rackup" | "rails" | "unicorn" | "thin" | "falcon" => None,
        _ => args
            .iter()
            .find(|arg| is_target(arg))
            .or_else(|| lone_module(args))
            .and_then(|arg| module(arg)),
    };
    app.or_else(|| {
        let script = args
            .iter()
            .find(|arg| !arg.starts_with('-') && is_script(arg));
        script.map(|path| command.script(path))
    })
    .or_else(|| command.directory().map(str::to_owned))
    .unwrap_or_else(|| server.to_owned())
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

/// The last argument, if it is a module and not the value of an option.
fn lone_module<'a>(args: &'a [&'a str]) -> Option<&'a &'a str> {
    let (last, before) = args.split_last()?;
    let value = before
        .last()
        .is_some_and(|arg| arg.starts_with('-') && !arg.contains('='));
    (is_dotted(last) && !is_script(last) && !value).then_some(last)
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
