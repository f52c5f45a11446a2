//! `layering`: the import rule of the agent.
//!
//! The agent is a one-way flow of stages. A module may name modules of its own stage
//! and of earlier ones, never of a later one; what goes backwards goes through a
//! channel that the top owns. Every module is in the table, so a new one cannot
//! slip in without a place.

mod scan;

use crate::workspace;
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// The stages in order, with their modules. The longest path that fits decides.
const STAGES: [(&str, &[&str]); 11] = [
    // Words that every stage may use; they know nothing of the flow.
    (
        "model",
        &[
            "model",
            "profile::model",
            "fixture",
            "frames",
            "stream",
            "sample_profile",
        ],
    ),
    // The host: its kernel and its processes.
    ("host", &["host"]),
    // Bytes come in, live or from a recording, and become records.
    ("capture", &["capture"]),
    // Parsers and ids: called by the pairing stage, they do no I/O and know no clock.
    ("proto", &["pairing::proto", "pairing::context"]),
    // Messages become exchanges.
    ("pairing", &["pairing"]),
    // Samples become profiles.
    ("profile", &["profile"]),
    // Exchanges become spans.
    ("span", &["span"]),
    // What kind of request it is, how it counts, and whether its span is kept.
    ("deciding", &["deciding"]),
    // What was set, and what it means to the stages on both sides.
    ("config", &["config"]),
    // Spans, metrics and profiles leave, to gateways and to people.
    ("delivery", &["delivery", "output"]),
    // Everything is put together.
    ("app", &["app", "cli", "main"]),
];

/// Things that the modules of a stage must not name.
const FORBIDDEN: [(&str, &[&str]); 1] = [(
    "proto",
    &[
        "std::fs",
        "std::process",
        "std::time::Instant",
        "std::time::SystemTime",
        "TcpStream",
        "tokio",
    ],
)];

/// Fails when a module of the agent names a module of a later stage.
///
/// # Errors
/// Every violation, with file and line.
pub(crate) fn check() -> Result<()> {
    let source = workspace::root().join("agent/src");
    let mut files = Vec::new();
    collect(&source, &mut files)?;
    let mut problems = Vec::new();
    for file in &files {
        let text = fs::read_to_string(file)?;
        let relative = file.strip_prefix(&source)?;
        let found = violations(&module_path(relative), &text);
        problems.extend(
            found
                .into_iter()
                .map(|(line, text)| format!("agent/src/{}:{line}: {text}", relative.display())),
        );
    }
    if !problems.is_empty() {
        bail!(
            "the flow goes one way (xtask/src/layering/mod.rs):\n  {}",
            problems.join("\n  ")
        );
    }
    crate::process::say(&format!(
        "{} files of the agent import only what comes before them",
        files.len()
    ));
    Ok(())
}

/// What is wrong in one module: line and message.
fn violations(module: &[String], text: &str) -> Vec<(usize, String)> {
    // The crate root declares every module.
    if module.is_empty() {
        return Vec::new();
    }
    let Some(own) = stage(module) else {
        return vec![(
            1,
            format!("module `{}` has no stage in the table", module.join("::")),
        )];
    };
    let code = scan::without_comments_and_tests(text);
    let mut problems = Vec::new();
    for (line, path) in scan::paths(&code, module) {
        match stage(&path) {
            Some(other) if other > own => problems.push((
                line,
                format!(
                    "`{}` ({}) names `{}` ({}), which comes later",
                    module.join("::"),
                    STAGES[own].0,
                    path.join("::"),
                    STAGES[other].0
                ),
            )),
            Some(_) => {}
            None => {
                problems.push((line, format!("`{}` has no stage in the table", path[0])));
            }
        }
    }
    problems.dedup();
    for (_, words) in FORBIDDEN.iter().filter(|(name, _)| *name == STAGES[own].0) {
        for (line, text) in (1..).zip(code.lines()) {
            for word in words.iter().filter(|word| text.contains(**word)) {
                problems.push((line, format!("`{}` must not use {word}", module.join("::"))));
            }
        }
    }
    problems
}

/// The stage of a module path: the longest entry of the table that it begins with.
fn stage(path: &[String]) -> Option<usize> {
    let path = path.join("::");
    let fits = |entry: &&str| {
        path.strip_prefix(*entry)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    let entries = STAGES
        .iter()
        .enumerate()
        .flat_map(|(index, (_, modules))| modules.iter().map(move |entry| (index, entry)));
    entries
        .filter(|(_, entry)| fits(entry))
        .max_by_key(|(_, entry)| entry.len())
        .map(|(i, _)| i)
}

/// `conn/table.rs` is `conn::table`, `conn/mod.rs` is `conn`, `lib.rs` is the root.
fn module_path(relative: &Path) -> Vec<String> {
    let path = relative.with_extension("");
    let parts = path.iter().map(|part| part.to_string_lossy().into_owned());
    parts
        .filter(|part| part != "mod" && part != "lib")
        .collect()
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    for entry in entries {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|ext| ext == "rs") && !name.ends_with("tests") {
            files.push(path);
        }
    }
    files.sort();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(module: &str, text: &str) -> Vec<(usize, String)> {
        let module: Vec<String> = module.split("::").map(str::to_owned).collect();
        violations(&module, text)
    }

    #[test]
    fn earlier_stages_may_be_named() {
        let text = "use crate::model::exchange::Exchange;\nuse crate::{pairing::proto::http1, capture::ingest};\n";
        assert!(check("pairing::conn::table", text).is_empty());
        assert!(check("pairing::conn", "use crate::model::ids::random;").is_empty());
    }

    #[test]
    fn later_stages_may_not_however_they_are_named() {
        for text in [
            "use crate::delivery::export::Batch;",
            "use crate::{model::exchange, delivery::export::Batch};",
            "fn f() { crate::delivery::export::go() }",
            "use super::super::super::delivery;",
            "pub(crate) use crate::{\n    model::exchange::{Side,\n    Sink},\n    delivery,\n};",
        ] {
            let problems = check("pairing::conn::table", text);
            assert_eq!(problems.len(), 1, "{text}: {problems:?}");
            assert!(problems[0].1.contains("`delivery"), "{problems:?}");
        }
        assert_eq!(
            check("pairing::conn", "use crate::span::build::Span;").len(),
            1
        );
    }

    #[test]
    fn comments_and_inline_tests_do_not_count() {
        let text = "//! See crate::delivery::export.\n/* crate::cli */\nfn f() {}\n\n#[cfg(test)]\nmod tests {\n    use crate::cli;\n}\n";
        assert!(check("pairing::conn", text).is_empty());
    }

    #[test]
    fn a_module_outside_the_table_is_named() {
        assert_eq!(check("novelty", "").len(), 1);
        assert_eq!(check("pairing::conn", "use crate::novelty::X;").len(), 1);
    }

    #[test]
    fn parsers_know_no_clock() {
        assert_eq!(
            check("pairing::proto::http1", "use std::time::Instant;").len(),
            1
        );
        assert!(check("pairing::proto::http1", "use std::time::Duration;").is_empty());
    }
}
