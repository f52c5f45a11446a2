//! Interpreters and other programs that run somebody else's program.

use super::operands::{self, is_assignment, is_option, operands};
use super::{Command, application, base, has_script_ending, java, shell, stem, unversioned};

type Rule = fn(&Command<'_>, &[&str]) -> Option<String>;

/// Programs, without version, and what names the thing they run.
const RULES: &[(&[&str], Rule)] = &[
    (&["python", "pypy", "uwsgi", "uwsgi-core"], python),
    (&["node", "nodejs"], node),
    (&["bun", "deno"], subcommands),
    (&["java"], java::name),
    (&["ruby", "jruby"], ruby),
    (&["php", "php-cgi"], php),
    (&["dotnet", "mono"], dotnet),
    (&["beam.smp", "beam"], erlang),
    (
        &[
            "perl", "lua", "luajit", "tclsh", "Rscript", "R", "swipl", "guile", "sbcl", "julia",
            "racket",
        ],
        plain,
    ),
    (&["sh", "bash", "dash", "ash", "zsh", "ksh"], shell::name),
    (&["busybox"], busybox),
    (
        &[
            "ld-linux-x86-64.so",
            "ld-linux-aarch64.so",
            "ld-musl-x86_64.so",
            "env",
        ],
        loader,
    ),
];

/// Name of what an interpreter runs; `None` if `program` is none or nothing is known.
pub(super) fn name(command: &Command<'_>, program: &str) -> Option<String> {
    let program = unversioned(program);
    let args = command.args.get(usize::from(program != "busybox")..)?;
    match rule(program) {
        Some(rule) => rule(command, args),
        None => unlisted(command, args),
    }
}

/// Whether a program runs programs of others.
pub(super) fn is_interpreter(program: &str) -> bool {
    rule(unversioned(program)).is_some()
}

fn rule(program: &str) -> Option<Rule> {
    let (_, rule) = RULES.iter().find(|(names, _)| names.contains(&program))?;
    Some(*rule)
}

/// A program that is in no list, but interprets a script: the kernel names a process after the
/// script that it started (`#!`), or a source file is its first argument.
fn unlisted(command: &Command<'_>, args: &[&str]) -> Option<String> {
    let called = |arg: &&&str| {
        let name = base(arg);
        !command.comm.is_empty()
            && name.get(..15).unwrap_or(name) == command.comm
            && base(command.exe.unwrap_or_default()) != name
    };
    let (path, rest) = args.split_first()?;
    let source = has_script_ending(path) && (command.file)(path) == Some(true);
    if source {
        return Some(application::run(command, path, rest));
    }
    let at = args
        .iter()
        .position(|arg| called(&arg) && (command.file)(arg) == Some(true))?;
    Some(application::run(command, args[at], &args[at + 1..]))
}

/// A script with its arguments: an application server is seen through once more.
fn script(command: &Command<'_>, args: &[&str]) -> Option<String> {
    let (path, rest) = args.split_first()?;
    (*path != "-").then(|| application::run(command, path, rest))
}

fn python(command: &Command<'_>, args: &[&str]) -> Option<String> {
    if command.program().starts_with("uwsgi") {
        return Some(application::name(command, "uwsgi", args));
    }
    let mut at = 0;
    while let Some(arg) = args.get(at) {
        let Some(letters) = arg
            .strip_prefix('-')
            .filter(|letters| !letters.starts_with('-'))
        else {
            break;
        };
        at += 1;
        // Single letters may be joined: `-Im http.server`.
        let Some(option) = letters.find(['m', 'c', 'W', 'X']) else {
            continue;
        };
        let joined = Some(&letters[option + 1..]).filter(|value| !value.is_empty());
        match letters.as_bytes().get(option) {
            Some(b'm') => {
                let module = joined.or_else(|| args.get(at).copied())?;
                let rest = args
                    .get(at + usize::from(joined.is_none())..)
                    .unwrap_or(&[]);
                return Some(application::module_run(command, module, rest));
            }
            Some(b'c') => return None,
            _ => at += usize::from(joined.is_none()),
        }
    }
    script(command, operands::script(command, args.get(at..)?, &[])?)
}

fn node(command: &Command<'_>, args: &[&str]) -> Option<String> {
    const VALUED: &[&str] = &[
        "-r",
        "--require",
        "--import",
        "--loader",
        "--experimental-loader",
        "-C",
        "--conditions",
    ];
    // With `-e`, what follows is code.
    let evaluated = ["-e", "--eval", "-p", "--print", "-pe"];
    let script = operands::script(command, args, VALUED).and_then(|args| args.first().copied());
    let before = args.iter().take_while(|arg| Some(**arg) != script);
    if before.into_iter().any(|arg| evaluated.contains(arg)) {
        return command.directory().map(str::to_owned);
    }
    javascript(command, script?)
}

/// The name in the `package.json` that a script belongs to, or the script's.
fn javascript(command: &Command<'_>, script: &str) -> Option<String> {
    let cwd = command.cwd.unwrap_or("");
    // A tool among the dependencies, or installed globally, runs the package around it.
    let tool = script.contains("node_modules/") || script.starts_with("/usr/");
    let absolute = match script.strip_prefix("./").unwrap_or(script) {
        _ if tool => format!("{cwd}/x"),
        path if path.starts_with('/') => path.to_owned(),
        path => format!("{cwd}/{path}"),
    };
    // `dist/src/index.js` belongs to the package two levels up.
    let mut directory = absolute.as_str();
    for _ in 0..3 {
        directory = match directory.rsplit_once('/') {
            Some((parent, _)) if !parent.is_empty() => parent,
            _ => break,
        };
        if let Some(name) = (command.package)(directory) {
            return Some(name);
        }
    }
    Some(command.script(script))
}

/// `deno run main.ts`, `bun run start`, `bun server.ts`.
fn subcommands(command: &Command<'_>, args: &[&str]) -> Option<String> {
    const VALUED: &[&str] = &[
        "-c",
        "--config",
        "--import-map",
        "-r",
        "--preload",
        "--cwd",
        "--port",
    ];
    let args = operands(args, VALUED);
    let (first, rest) = args.split_first()?;
    if !matches!(*first, "run" | "serve" | "start" | "x" | "task") {
        return javascript(command, first);
    }
    match operands(rest, VALUED).first() {
        // The name of a task in package.json, not a file.
        Some(task) if stem(task) == *task => javascript(command, "./index.js"),
        Some(script) => javascript(command, script),
        None => javascript(command, "./index.js"),
    }
}

fn ruby(command: &Command<'_>, args: &[&str]) -> Option<String> {
    let args = operands::script(command, args, &["-I", "-r", "-C", "-E"])?;
    let bundled = args
        .first()
        .is_some_and(|arg| matches!(base(arg), "bundle" | "bundler"));
    // `bundle exec puma -C config/puma.rb`
    let args = if bundled {
        args.get(2..).unwrap_or(&[])
    } else {
        args
    };
    script(command, args)
}

fn php(command: &Command<'_>, args: &[&str]) -> Option<String> {
    let valued = ["-d", "-c", "-S", "-t", "-z", "-r", "-B", "-R", "-E"];
    let args = operands(args, &valued);
    match args.first().map(|arg| base(arg)) {
        // The built-in server (`-S`) and Laravel's console serve the directory.
        None | Some("artisan" | "console") => command.directory().map(str::to_owned),
        Some(_) => script(command, args),
    }
}

fn dotnet(command: &Command<'_>, args: &[&str]) -> Option<String> {
    const VALUED: &[&str] = &[
        "--additionalprobingpath",
        "--additional-deps",
        "--depsfile",
        "--runtimeconfig",
        "--fx-version",
        "--roll-forward",
    ];
    let args = operands(args, VALUED);
    match args.first() {
        Some(&"exec") => dotnet(command, &args[1..]),
        Some(&("run" | "watch")) => command.directory().map(str::to_owned),
        Some(path) => Some(command.script(path)),
        None => None,
    }
}

fn plain(command: &Command<'_>, args: &[&str]) -> Option<String> {
    // Perl's `-e` takes code; a script may follow nothing else.
    if args
        .iter()
        .any(|arg| matches!(*arg, "-e" | "-E" | "-ne" | "-pe"))
    {
        return None;
    }
    if let Some(args) = operands::script(command, args, &["-I"]) {
        return script(command, args);
    }
    // `R --no-echo --file=orders.R`
    let mut named = args.iter().filter_map(|arg| arg.strip_prefix("--file="));
    named.next_back().map(|path| command.script(path))
}

/// Erlang and Elixir: the node's name, the release, or what `mix` or a script runs.
fn erlang(command: &Command<'_>, args: &[&str]) -> Option<String> {
    let after = |name: &str| {
        let at = args.iter().position(|arg| *arg == name)?;
        args.get(at + 1).copied().filter(|value| !is_option(value))
    };
    if let Some(node) = after("-sname").or_else(|| after("-name")) {
        let name = node.split('@').next().unwrap_or(node).trim_matches('\'');
        return (!name.is_empty()).then(|| name.to_owned());
    }
    // `-progname shop/bin/shop`, as releases are started.
    if let Some(program) = after("-progname").map(base)
        && !matches!(program, "erl" | "elixir" | "iex")
    {
        return Some(program.to_owned());
    }
    let extra = args.iter().position(|arg| *arg == "-extra");
    let extra = extra.and_then(|at| operands(args.get(at + 1..)?, &[]).first().copied());
    match extra {
        Some(path) if has_script_ending(path) => Some(command.script(path)),
        _ => command.directory().map(str::to_owned),
    }
}

fn busybox(command: &Command<'_>, args: &[&str]) -> Option<String> {
    let (first, rest) = args.split_first()?;
    let applet = base(first.trim_start_matches('-'));
    match applet {
        "busybox" => command.inner(rest),
        "sh" | "ash" | "env" => command.inner(args),
        _ => Some(applet.to_owned()),
    }
}

/// `env A=1 shop`, `ld-linux-x86-64.so.2 --library-path /x /opt/shop`.
fn loader(command: &Command<'_>, args: &[&str]) -> Option<String> {
    let args = operands(
        args,
        &["-u", "--library-path", "--argv0", "--preload", "--audit"],
    );
    let skip = args.iter().take_while(|arg| is_assignment(arg)).count();
    command.inner(args.get(skip..)?)
}
