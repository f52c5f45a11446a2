//! Which argument is the program that an interpreter runs.
//!
//! No list of options holds: an option that is not known may take the argument behind it as its
//! value, or not. What is sure: a number is no script, and neither is what is no file of the
//! process. Where both could be the script, the one that looks like one is.

use super::{Command, has_script_ending};

/// Passes over options. `valued` are those that take the next argument as their value.
pub(super) fn operands<'a>(args: &'a [&'a str], valued: &[&str]) -> &'a [&'a str] {
    let mut at = 0;
    while let Some(arg) = args.get(at) {
        if *arg == "--" {
            at += 1;
            break;
        }
        if !is_option(arg) {
            break;
        }
        at += 1 + usize::from(valued.contains(arg));
    }
    args.get(at..).unwrap_or(&[])
}

/// The script and its arguments. `valued` are options that are known to take a value, and
/// settle what the disk cannot: `--import ./hook.mjs app.js`.
pub(super) fn script<'a>(
    command: &Command<'_>,
    args: &'a [&'a str],
    valued: &[&str],
) -> Option<&'a [&'a str]> {
    let mut at = 0;
    // Whether the argument at hand may be the value of the option before it.
    let mut may_be_value = false;
    while let Some(arg) = args.get(at) {
        if *arg == "--" {
            return args.get(at + 1..).filter(|rest| !rest.is_empty());
        }
        if is_option(arg) {
            let known = valued.contains(arg);
            at += 1 + usize::from(known);
            may_be_value = !known && !arg.contains('=');
            continue;
        }
        if !may_be_value {
            return (!is_number(arg)).then_some(&args[at..]);
        }
        if !is_value(command, arg, args.get(at + 1).copied()) {
            return args.get(at..);
        }
        may_be_value = false;
        at += 1;
    }
    None
}

/// Whether what stands behind an unknown option is its value, and not the script. `next` is
/// what stands behind it.
fn is_value(command: &Command<'_>, arg: &str, next: Option<&str>) -> bool {
    if is_number(arg) {
        return true;
    }
    match is_script_file(command, arg) {
        Some(false) => true,
        _ if has_script_ending(arg) => false,
        // `--env-file .env orders.js`
        there => next.is_some_and(|next| {
            !is_option(next)
                && !is_number(next)
                && match is_script_file(command, next) {
                    Some(script) => script,
                    None => there.is_none() && has_script_ending(next),
                }
        }),
    }
}

/// Whether an argument names a file, also without its ending as Node takes it. `None` if
/// nobody can tell.
fn is_script_file(command: &Command<'_>, arg: &str) -> Option<bool> {
    let exact = (command.file)(arg)?;
    let shortened = |ending: &str| (command.file)(&format!("{arg}{ending}")) == Some(true);
    Some(
        exact
            || [".js", ".mjs", ".cjs", "/index.js", "/__main__.py"]
                .iter()
                .any(|e| shortened(e)),
    )
}

pub(super) fn is_option(arg: &str) -> bool {
    arg.starts_with('-') && arg.len() > 1
}

/// Digits, as ports, sizes and counts are; also `8080:80`, `0.5` and `127.0.0.1`.
pub(super) fn is_number(arg: &str) -> bool {
    !arg.is_empty()
        && arg
            .bytes()
            .all(|b| b.is_ascii_digit() || b".:,".contains(&b))
}

/// `NAME=value`, as a shell and `env` take it.
pub(super) fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    })
}
