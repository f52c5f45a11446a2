//! Finds the module paths that a source file names.

/// The code without comments, and without a test module at its end. Line numbers stay.
pub(super) fn without_comments_and_tests(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut in_block = false;
    for line in text.lines() {
        if line.trim_end() == "#[cfg(test)]" && !line.starts_with(' ') {
            // An attribute before `mod tests;` may be followed by more code.
            code.push('\n');
            continue;
        }
        if line.starts_with("mod tests {") {
            break;
        }
        let mut rest = line;
        loop {
            if in_block {
                let Some(end) = rest.find("*/") else { break };
                in_block = false;
                rest = &rest[end + 2..];
            }
            let cut = rest.find("//").into_iter().chain(rest.find("/*")).min();
            let Some(cut) = cut else {
                code.push_str(rest);
                break;
            };
            code.push_str(&rest[..cut]);
            if rest[cut..].starts_with("//") {
                break;
            }
            in_block = true;
            rest = &rest[cut + 2..];
        }
        code.push('\n');
    }
    code
}

/// Every module path that starts with `crate::`, or with enough `super::` to leave the
/// stage, with its line. Items at the end of a path are part of it.
pub(super) fn paths(code: &str, module: &[String]) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if is_start(code, at) {
            let line = line_of(code, at);
            tree(&code[at + 7..], &[], &mut |path| found.push((line, path)));
        }
    }
    for (at, _) in code.match_indices("super::") {
        // Only the first of a chain; a file in `conn` reaches the root with one, a file
        // in `conn::table` with two.
        if !is_start(code, at) || code[..at].ends_with("super::") {
            continue;
        }
        let mut rest = &code[at..];
        let mut depth = 0;
        while let Some(after) = rest.strip_prefix("super::") {
            rest = after;
            depth += 1;
        }
        if depth == module.len() {
            let line = line_of(code, at);
            tree(rest, &[], &mut |path| found.push((line, path)));
        }
    }
    found
}

/// Reads a use tree, `a::{b, c::d}` or `a::b`, and reports every path in it. Returns
/// what follows the tree.
fn tree<'a>(text: &'a str, prefix: &[String], report: &mut dyn FnMut(Vec<String>)) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start();
            if let Some(after) = rest.strip_prefix('}') {
                return after;
            }
            let before = rest.len();
            rest = tree(rest, prefix, report);
            // ` as name` and the comma.
            rest = rest.find([',', '}']).map_or("", |end| &rest[end..]);
            rest = rest.strip_prefix(',').unwrap_or(rest);
            if rest.is_empty() || rest.len() == before {
                return rest;
            }
        }
    }
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let mut path = prefix.to_vec();
    if !name.is_empty() {
        path.push(name.to_owned());
    }
    match rest.strip_prefix("::") {
        Some(rest) => tree(rest, &path, report),
        None => {
            if !path.is_empty() && path != ["self"] {
                report(path);
            }
            rest.strip_prefix('*').unwrap_or(rest)
        }
    }
}

/// Whether a path begins at `at`: `remora_crate::` is another name, `$crate` is ours.
fn is_start(code: &str, at: usize) -> bool {
    !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
        || code[..at].ends_with("super::")
}

fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(code: &str) -> Vec<String> {
        let module = vec!["conn".to_owned(), "table".to_owned()];
        paths(code, &module)
            .into_iter()
            .map(|(_, path)| path.join("::"))
            .collect()
    }

    #[test]
    fn reads_nested_groups() {
        let code = "use crate::{a::{b, c as d}, e, f::*};\nuse crate::g::{self, h};";
        assert_eq!(names(code), ["a::b", "a::c", "e", "f", "g::self", "g::h"]);
    }

    #[test]
    fn super_counts_only_at_the_root() {
        assert_eq!(names("use super::build;"), Vec::<String>::new());
        assert_eq!(names("use super::super::export::X;"), ["export::X"]);
    }

    #[test]
    fn other_names_are_not_ours() {
        assert!(names("use mycrate::x; pub(crate) fn f() {}").is_empty());
    }
}
