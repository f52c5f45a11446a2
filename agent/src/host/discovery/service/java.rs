//! Java: the archive, module or class that a command line names, in argument files as well.

use super::operands::is_option;
use super::{Command, base};

/// Arguments taken of all argument files together.
const MAX_ARGS: usize = 1024;
/// Options whose value is the next argument and looks like a class.
const VALUED: &[&str] = &[
    "-cp",
    "-classpath",
    "--class-path",
    "-p",
    "--module-path",
    "--upgrade-module-path",
    "--add-modules",
    "--limit-modules",
    "--source",
];

pub(super) fn name(command: &Command<'_>, args: &[&str]) -> Option<String> {
    let expanded = expanded(command, args);
    let args: Vec<&str> = expanded.iter().map(String::as_str).collect();
    let mut at = 0;
    let mut declared = None;
    let inherited = || command.declared.map(str::to_owned);
    while let Some(arg) = args.get(at) {
        let value = args.get(at + 1).copied();
        if let Some(name) = property(arg) {
            declared = Some(name.to_owned());
        } else if *arg == "-jar" {
            return declared
                .or_else(inherited)
                .or_else(|| Some(jar(command, value?)));
        } else if matches!(*arg, "-m" | "--module") {
            return declared
                .or_else(inherited)
                .or_else(|| Some(class(command, base(value?))));
        } else if let Some(module) = arg.strip_prefix("--module=") {
            return declared
                .or_else(inherited)
                .or_else(|| Some(class(command, base(module))));
        } else if !is_option(arg) {
            return declared
                .or_else(inherited)
                .or_else(|| Some(class(command, arg)));
        }
        at += 1 + usize::from(takes_value(arg, value, args.get(at + 2).copied()));
    }
    declared.or_else(inherited)
}

/// Whether an option takes the next argument. Options of two dashes do as a rule, and what is
/// no name of a class is a value whatever the option.
fn takes_value(option: &str, value: Option<&str>, next: Option<&str>) -> bool {
    let Some(value) = value.filter(|value| !is_option(value)) else {
        return false;
    };
    if VALUED.contains(&option) {
        return true;
    }
    if !option.starts_with("--") || option.contains('=') {
        return false;
    }
    // `--enable-native-access ALL-UNNAMED Orders`, `--any java.se Orders`, `--preview Orders -x`
    !is_class(value)
        || (!is_capital(value) && next.is_some_and(|next| is_class(next) && is_capital(next)))
}

/// A class in full, or a source file that is run as it is.
fn is_class(text: &str) -> bool {
    text.strip_suffix(".java")
        .map_or(text, base)
        .split('.')
        .all(|part| {
            part.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '$')
                && part
                    .chars()
                    .all(|c| c.is_alphanumeric() || c == '_' || c == '$')
        })
}

/// Whether a class is written as classes are: its own name with a capital.
fn is_capital(class: &str) -> bool {
    let class = class.strip_suffix(".java").unwrap_or(class);
    class
        .rsplit(['.', '/'])
        .next()
        .is_some_and(|name| name.starts_with(char::is_uppercase))
}

/// A name given to an SDK or a framework, among options (`JAVA_TOOL_OPTIONS` holds some too).
pub(in crate::host::discovery) fn property(arg: &str) -> Option<&str> {
    let value = arg
        .strip_prefix("-Dotel.service.name=")
        .or_else(|| arg.strip_prefix("-Dspring.application.name="))?;
    (!value.is_empty()).then_some(value)
}

/// The arguments with those of `@files` in their places. A file that cannot be read is left
/// out.
fn expanded(command: &Command<'_>, args: &[&str]) -> Vec<String> {
    let mut out = Vec::with_capacity(args.len());
    let mut literal = false;
    for arg in args {
        match arg.strip_prefix('@') {
            Some(path) if !literal && !path.is_empty() => {
                let text = (command.read)(path).unwrap_or_default();
                out.extend(words(&String::from_utf8_lossy(&text)));
            }
            _ => out.push((*arg).to_owned()),
        }
        // Behind the program's name they are its own.
        literal |=
            *arg == "--disable-@files" || (!is_option(arg) && is_class(arg) && is_capital(arg));
        if out.len() >= MAX_ARGS {
            out.truncate(MAX_ARGS);
            break;
        }
    }
    out
}

/// The words of an argument file: quotes of both kinds, `\` before the next character within
/// them, `#` to the end of a line ("java Command-Line Argument Files", JDK tools reference).
fn words(text: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), '\\') => word.get_or_insert_default().extend(chars.next()),
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => {
                let _ = chars.by_ref().find(|c| *c == '\n');
            }
            (None, c) if c.is_whitespace() => out.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    out.extend(word);
    out
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn argument_files_are_split_as_java_does() {
        let text = "# all of it\n-cp \"a b\\\\c\" 'd e'\n-Dx=1#2 \"\"\n  Orders";
        let expected = ["-cp", "a b\\c", "d e", "-Dx=1#2", "", "Orders"];
        assert_eq!(words(text), expected);
        assert_eq!(words("\"open"), ["open"]);
    }
}
