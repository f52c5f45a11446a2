//! Settings as they were given, from all sources, with the place each came from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_norway::Value;

use super::Mistake;
use crate::model::text::nearest::nearest;

/// Keys of the file. The variable of a key is `REMORA_` and the key in capitals.
pub const KEYS: [&str; 33] = [
    "capture_head_bytes",
    "exclude",
    "export_failover",
    "export_file",
    "export_in_flight",
    "include",
    "listen",
    "log",
    "max_connections",
    "max_routes",
    "memory_limit",
    "metrics_max_series",
    "otlp_bearer_token_file",
    "otlp_headers_file",
    "profile",
    "profile_hz",
    "profile_interval",
    "query_allow",
    "ring_bytes",
    "routes",
    "sampling",
    "sampling_interval",
    "sampling_max_spans_per_second",
    "sampling_min_probability",
    "sampling_ratio",
    "sampling_rules",
    "sampling_spans_per_second",
    "service_names",
    "spool_bytes",
    "spool_compression",
    "spool_dir",
    "spool_drain_bytes",
    "spool_sync",
];

/// Names the file; cannot be in it.
pub const FILE_VARIABLE: &str = "REMORA_CONFIG";

/// Variables that all programs share; cannot be in the file.
const SHARED: [&str; 8] = [
    "ALL_PROXY",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// Largest file that is read, bytes.
const MAX_FILE: u64 = 1 << 20;

/// The value of one setting: one text, or several.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Given {
    /// For messages: the variable, flag or key.
    pub origin: String,
    /// A list from a file, or one text from elsewhere.
    pub values: Vec<String>,
    /// Whether it was a list.
    pub list: bool,
}

/// All settings that were given, the strongest source of each.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Raw {
    own: BTreeMap<String, Given>,
    otel: BTreeMap<String, Given>,
}

impl Raw {
    /// Collects settings. `flags` have keys without `--`, with `_` for `-`; `env` is
    /// the whole environment. The file is the one of the `--config` flag, else the one
    /// that [`FILE_VARIABLE`] names. All mistakes are added to `mistakes`.
    pub fn collect(
        file: Option<&Path>,
        flags: &[(&str, String)],
        env: &[(String, String)],
        mistakes: &mut Vec<Mistake>,
    ) -> Self {
        let mut raw = Self::default();
        let from_env = env
            .iter()
            .find(|(name, value)| name == FILE_VARIABLE && !value.is_empty());
        let file = file
            .map(Path::to_owned)
            .or(from_env.map(|(_, path)| PathBuf::from(path)));
        if let Some(file) = file {
            raw.read_file(&file, mistakes);
        }
        raw.read_env(env, mistakes);
        for (key, value) in flags {
            let origin = format!("--{}", key.replace('_', "-"));
            raw.own.insert((*key).to_owned(), Given::one(origin, value));
        }
        raw
    }

    /// What was given for a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Given> {
        self.own.get(key)
    }

    /// Value of a standard variable, `OTEL_*` or one that names a proxy: of the environment,
    /// else, for `OTEL_*`, of the key of the same name in the file.
    #[must_use]
    pub fn otel(&self, variable: &str) -> Option<&str> {
        self.otel.get(variable)?.values.first().map(String::as_str)
    }

    /// Where the value of a standard variable comes from.
    #[must_use]
    pub fn otel_origin(&self, variable: &str) -> Option<&str> {
        self.otel.get(variable).map(|given| given.origin.as_str())
    }

    fn read_env(&mut self, env: &[(String, String)], mistakes: &mut Vec<Mistake>) {
        for (name, value) in env {
            // The specification says so of its variables, and we do of ours.
            if value.is_empty() {
                continue;
            }
            if name.starts_with("OTEL_") || SHARED.contains(&name.as_str()) {
                self.otel
                    .insert(name.clone(), Given::one(name.clone(), value));
                continue;
            }
            let Some(key) = name.strip_prefix("REMORA_") else {
                continue;
            };
            let key = key.to_ascii_lowercase();
            if name == FILE_VARIABLE || is_service_link(&key) {
                continue;
            }
            match unknown(&key, |key| format!("REMORA_{}", key.to_ascii_uppercase())) {
                Some(problem) => mistakes.push(Mistake::new(name, problem)),
                None => {
                    self.own.insert(key, Given::one(name.clone(), value));
                }
            }
        }
    }

    fn read_file(&mut self, path: &Path, mistakes: &mut Vec<Mistake>) {
        let shown = path.display();
        let text = match read(path) {
            Ok(text) => text,
            Err(problem) => return mistakes.push(Mistake::new(shown, problem)),
        };
        let entries = match serde_norway::from_str(&text) {
            Ok(Value::Mapping(entries)) => entries,
            Ok(Value::Null) => return,
            Ok(_) => {
                return mistakes.push(Mistake::new(shown, "it is not a list of keys and values"));
            }
            Err(error) => return mistakes.push(Mistake::new(shown, error)),
        };
        for (key, value) in entries {
            let Value::String(key) = key else {
                mistakes.push(Mistake::new(&shown, "a key is not a text"));
                continue;
            };
            let origin = format!("{shown}: {key}");
            if let Some(variable) = otel_variable(&key) {
                match scalar(&value) {
                    Some(text) => drop(self.otel.insert(variable, Given::one(origin, &text))),
                    None => mistakes.push(Mistake::new(origin, "it takes one value")),
                }
            } else if let Some(problem) = unknown(&key, str::to_owned) {
                mistakes.push(Mistake::new(origin, problem));
            } else {
                match texts(&value) {
                    Some((values, list)) => {
                        drop(self.own.insert(
                            key,
                            Given {
                                origin,
                                values,
                                list,
                            },
                        ));
                    }
                    None => mistakes.push(Mistake::new(
                        origin,
                        "it takes a value, a list of values, or a list of 'name: value'",
                    )),
                }
            }
        }
    }
}

impl Given {
    fn one(origin: String, value: &str) -> Self {
        Self {
            origin,
            values: vec![value.to_owned()],
            list: false,
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    use std::io::Read as _;
    let file = std::fs::File::open(path).map_err(|error| format!("it cannot be read: {error}"))?;
    let mut text = String::new();
    file.take(MAX_FILE + 1)
        .read_to_string(&mut text)
        .map_err(|error| format!("it cannot be read: {error}"))?;
    if text.len() as u64 > MAX_FILE {
        return Err(format!("it is larger than {MAX_FILE} bytes"));
    }
    Ok(text)
}

/// Why a key is no setting, if it is none. `spell` makes it look like its source.
fn unknown(key: &str, spell: impl Fn(&str) -> String) -> Option<String> {
    if KEYS.contains(&key) {
        return None;
    }
    Some(match nearest(key, KEYS) {
        Some(known) => format!("unknown setting; did you mean {}?", spell(known)),
        None => {
            let known: Vec<String> = KEYS.iter().map(|key| spell(key)).collect();
            format!("unknown setting; there are {}", known.join(", "))
        }
    })
}

/// Whether the variable is one of those that Kubernetes sets in every pod beside a
/// service called `remora`. They are not ours, although they look like it.
fn is_service_link(key: &str) -> bool {
    key == "port"
        || key.starts_with("port_")
        || key.starts_with("service_host")
        || key.starts_with("service_port")
}

fn otel_variable(key: &str) -> Option<String> {
    let variable = key.to_ascii_uppercase();
    variable.starts_with("OTEL_").then_some(variable)
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        _ => None,
    }
}

/// A value as texts, and whether it was a list. `name: value` becomes `name=value`.
fn texts(value: &Value) -> Option<(Vec<String>, bool)> {
    let pairs = |value: &Value| -> Option<Vec<String>> {
        value
            .as_mapping()?
            .iter()
            .map(|(name, value)| Some(format!("{}={}", scalar(name)?, scalar(value)?)))
            .collect()
    };
    match value {
        Value::Null => Some((Vec::new(), true)),
        Value::Mapping(_) => Some((pairs(value)?, true)),
        Value::Sequence(items) => {
            let mut all = Vec::new();
            for item in items {
                match scalar(item) {
                    Some(text) => all.push(text),
                    None => all.extend(pairs(item)?),
                }
            }
            Some((all, true))
        }
        _ => Some((vec![scalar(value)?], false)),
    }
}
