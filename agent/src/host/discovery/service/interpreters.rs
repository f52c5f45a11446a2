//! Interpreters and other programs that run somebody else's program.

use super::{Command, application, base, shell, stem, unversioned};

type Rule = fn(&Command<'_>, &[&str]) -> Option<String>;

/// Programs, without version, and what names the thing they run.
const RULES: &[(&[&str], Rule)] = &[
    (&["python", "pypy", "uwsgi", "uwsgi-core"], python),
    (&["node", "nodejs"], node),
    (&["bun", "deno"], subcommands),
    (&["java"], java),
    (&["ruby", "jruby"], ruby),
    (&["php", "php-cgi"], php),
    (&["dotnet", "mono"], dotnet),
    (&["perl", "lua", "luajit", "tclsh", "Rscript"], plain),
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
    let (_, rule) = RULES.iter().find(|(names, _)| names.contains(&program))?;
    let args = command.args.get(usize::from(program != "busybox")..)?;
    rule(command, args)
}

/// Passes over options. `valued` are those that take the next argument as their value.
pub(super) fn operands<'a>(args: &'a [&'a str], valued: &[&str]) -> &'a [&'a str] {
    let mut at = 0;
    while let Some(arg) = args.get(at) {
        if *arg == "--" {
            at += 1;
            break;
        }
        if !arg.starts_with('-') || *arg == "-" {
            break;
        }
        at += 1 + usize::from(valued.contains(arg));
    }
    args.get(at..).unwrap_or(&[])
}

/// A script with its arguments: an application server is seen through once more.
fn script(command: &Command<'_>, args: &[&str]) -> Option<String> {
    let (path, rest) = args.split_first()?;
    let name = stem(base(path));
    if application::SERVERS.contains(&unversioned(name)) {
        return Some(application::name(command, unversioned(name), rest));
    }
    (*path != "-").then(|| command.script(path))
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
                return Some(if application::SERVERS.contains(&module) {
                    application::name(command, module, rest)
                } else {
                    module.trim_end_matches(".__main__").to_owned()
                });
            }
            Some(b'c') => return None,
            _ => at += usize::from(joined.is_none()),
        }
    }
    script(
        command,
        operands(args.get(at..)?, &["--check-hash-based-pycs"]),
    )
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
    let script = *operands(args, VALUED).first()?;
    // With `-e`, what follows is code.
    let evaluated = ["-e", "--eval", "-p", "--print", "-pe"];
    if args
        .iter()
        .take_while(|arg| **arg != script)
        .any(|arg| evaluated.contains(arg))
    {
        return command.directory().map(str::to_owned);
    }
    javascript(command, script)
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

fn java(command: &Command<'_>, args: &[&str]) -> Option<String> {
    const VALUED: &[&str] = &[
        "-cp",
        "-classpath",
        "--class-path",
        "-p",
        "--module-path",
        "--upgrade-module-path",
        "--add-modules",
        "--add-opens",
        "--add-exports",
        "--add-reads",
        "--limit-modules",
    ];
    let mut at = 0;
    let mut declared = None;
    while let Some(arg) = args.get(at) {
        let value = args.get(at + 1).copied();
        if let Some(name) = property(arg) {
            declared = Some(name.to_owned());
        } else if *arg == "-jar" {
            return declared.or_else(|| Some(jar(command, value?)));
        } else if matches!(*arg, "-m" | "--module") {
            return declared.or_else(|| Some(class(command, base(value?))));
        } else if !arg.starts_with(['-', '@']) {
            return declared.or_else(|| Some(class(command, arg)));
        }
        at += 1 + usize::from(VALUED.contains(arg));
    }
    declared
}

/// A name given on the command line to an SDK or a framework.
fn property(arg: &str) -> Option<&str> {
    let value = arg
        .strip_prefix("-Dotel.service.name=")
        .or_else(|| arg.strip_prefix("-Dspring.application.name="))?;
    (!value.is_empty()).then_some(value)
}

/// `/opt/orders-1.4.2-SNAPSHOT.jar` → `orders`.
fn jar(command: &Command<'_>, path: &str) -> String {
    let name = command.script(path);
    let version = name
        .match_indices(['-', '_'])
        .map(|(at, _)| at)
        .find(|&at| {
            at > 0
                && name[at + 1..]
                    .trim_start_matches('v')
                    .starts_with(|c: char| c.is_ascii_digit())
        });
    name[..version.unwrap_or(name.len())].to_owned()
}

fn class(command: &Command<'_>, class: &str) -> String {
    if class.ends_with(".java") {
        return command.script(class);
    }
    match class.rsplit('.').next().unwrap_or(class) {
        "Bootstrap" if class.contains("catalina") => "tomcat".to_owned(),
        // Spring Boot's launchers run an unpacked archive.
        launcher @ ("JarLauncher" | "WarLauncher" | "PropertiesLauncher") => {
            command.directory().unwrap_or(launcher).to_owned()
        }
        simple => simple.to_owned(),
    }
}

fn ruby(command: &Command<'_>, args: &[&str]) -> Option<String> {
    let args = operands(args, &["-I", "-r", "-C", "-E"]);
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
    script(command, operands(args, &["-I"]))
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

pub(super) fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    })
}
