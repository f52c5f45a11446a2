//! Settings as the program uses them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use remora_common::config::HEAD_BYTES;
use remora_common::http2::BLOCK_BYTES;

use super::Mistake;
use super::list::{items, one};
use super::memory::{MEMORY_LIMIT, MemoryShares};
use super::otel::{IN_FLIGHT, OtelSettings};
use super::profiling::{self, Profiling};
use super::raw::{Given, Raw};
use super::rule::{Rule, Rules};
use super::sampling::Deciding;
use super::spool::{SPOOL_BYTES, SPOOL_DRAIN_BYTES, SPOOL_SYNC, SpoolSettings};
use crate::config::credentials::Credentials;
use crate::config::query::QueryPolicy;
use crate::model::text::duration::parse_duration;
use crate::model::text::nearest::did_you_mean;
use crate::model::text::size::parse_size;

/// Smallest, default and largest ring buffer, bytes.
pub const RING_BYTES: (u32, u32, u32) = (64 << 10, 16 << 20, 1 << 30);
/// Smallest, default and largest number of connections followed at a time.
pub const MAX_CONNECTIONS: (u32, u32, u32) = (64, 16_384, 1 << 20);
/// Most rules of each kind.
const MAX_RULES: usize = 1024;
/// Levels of the log, from least to most.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// All settings.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// `capture_head_bytes`: bytes captured of every request head.
    pub capture_head_bytes: u32,
    /// `ring_bytes`: size of the ring buffer, a power of two.
    pub ring_bytes: u32,
    /// `max_connections`: connections followed at a time.
    pub max_connections: u32,
    /// `memory_limit`, shared out.
    pub memory: MemoryShares,
    /// `include` and `exclude`.
    pub rules: Rules,
    /// `query_allow`: parameters of query strings that may be shown and exported.
    pub query: QueryPolicy,
    /// `service_names`: name to use instead of one found, first match.
    pub service_names: Vec<(String, String)>,
    /// `log`: level of the agent's own log.
    pub log: String,
    /// `listen`: where `remora run` serves health, readiness and its own metrics; nowhere
    /// by default.
    pub listen: Option<SocketAddr>,
    /// `export_file`: file to which `remora run` appends OTLP JSON lines, instead of
    /// sending them to a gateway.
    pub export_file: Option<PathBuf>,
    /// Routes, limits of metrics, sampling.
    pub deciding: Deciding,
    /// `profile`, `profile_hz`, `profile_interval`: CPU profiles that `remora run` exports;
    /// none by default.
    pub profiling: Option<Profiling>,
    /// `export_failover`: URLs of gateways to send to while the first cannot be reached,
    /// in order of preference.
    pub export_failover: Vec<String>,
    /// `export_in_flight`: most requests of a signal under way at once.
    pub export_in_flight: u32,
    /// `otlp_headers_file`: a file of headers for gateways, read again when it changes.
    pub otlp_headers_file: Option<PathBuf>,
    /// `otlp_bearer_token_file`: a file with a bearer token for gateways, likewise.
    pub otlp_bearer_token_file: Option<PathBuf>,
    /// `spool_dir` and its companions: the disk behind the export queue, if there is one.
    pub spool: Option<SpoolSettings>,
}

impl Config {
    /// Reads flags, environment and file, in this order of strength.
    ///
    /// # Errors
    /// All mistakes there are, in the order of the sources.
    pub fn load(
        file: Option<&Path>,
        flags: &[(&str, String)],
        env: &[(String, String)],
    ) -> Result<Self, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let raw = Raw::collect(file, flags, env, &mut mistakes);
        let config = Self::resolve(&raw, &mut mistakes);
        if mistakes.is_empty() {
            Ok(config)
        } else {
            Err(mistakes)
        }
    }

    /// The same with the standard variables, which may also be keys of the file.
    ///
    /// # Errors
    /// All mistakes in both.
    pub fn load_with_otel(
        file: Option<&Path>,
        flags: &[(&str, String)],
        env: &[(String, String)],
    ) -> Result<(Self, OtelSettings), Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let raw = Raw::collect(file, flags, env, &mut mistakes);
        let otel = OtelSettings::resolve(|name| raw.otel(name).map(str::to_owned));
        let origin = |name: &str| raw.otel_origin(name).unwrap_or(name).to_owned();
        let otel = otel.map_err(|wrong| {
            mistakes.extend(wrong.into_iter().map(|wrong| {
                let problem = format!("{}: {}; {}", wrong.value, wrong.problem, wrong.fix);
                Mistake::new(origin(&wrong.name), problem)
            }));
        });
        let config = Self::resolve(&raw, &mut mistakes);
        let credentials = config.credentials(&raw, &mut mistakes);
        match otel {
            Ok(mut otel) if mistakes.is_empty() => {
                for settings in [&mut otel.traces, &mut otel.metrics, &mut otel.profiles] {
                    settings.credentials.clone_from(&credentials);
                }
                Ok((config, otel))
            }
            _ => Err(mistakes),
        }
    }

    /// Reads the files of headers and tokens, each by itself to tell which one is wrong.
    fn credentials(&self, raw: &Raw, mistakes: &mut Vec<Mistake>) -> Option<Arc<Credentials>> {
        let (headers, token) = (&self.otlp_headers_file, &self.otlp_bearer_token_file);
        let tries = [
            (
                "otlp_headers_file",
                Credentials::open(headers.clone(), None),
            ),
            (
                "otlp_bearer_token_file",
                Credentials::open(None, token.clone()),
            ),
        ];
        for (key, tried) in tries {
            if let Err(error) = tried {
                let origin = raw.get(key).map_or(key, |given| &given.origin);
                mistakes.push(Mistake::new(origin, error));
            }
        }
        if headers.is_none() && token.is_none() {
            return None;
        }
        let opened = Credentials::open(headers.clone(), token.clone());
        opened.ok().map(Arc::new)
    }

    /// Turns texts into values. Where one is wrong, the default takes its place and
    /// the mistake is noted.
    fn resolve(raw: &Raw, mistakes: &mut Vec<Mistake>) -> Self {
        let mut number = |key: &str, (min, default, max): (u32, u32, u32)| {
            let Some(given) = raw.get(key) else {
                return default;
            };
            size(given, min, max).unwrap_or_else(|problem| {
                mistakes.push(Mistake::new(&given.origin, problem));
                default
            })
        };
        let capture_head_bytes = number(
            "capture_head_bytes",
            (HEAD_BYTES.0, HEAD_BYTES.1, BLOCK_BYTES.2),
        );
        let ring_bytes = number("ring_bytes", RING_BYTES);
        let max_connections = number("max_connections", MAX_CONNECTIONS);
        let export_in_flight = number("export_in_flight", IN_FLIGHT);
        if let Some(given) = raw
            .get("ring_bytes")
            .filter(|_| !ring_bytes.is_power_of_two())
        {
            let next = ring_bytes
                .checked_next_power_of_two()
                .unwrap_or(RING_BYTES.2);
            let problem = format!("{ring_bytes} is not a power of two; the next is {next}");
            mistakes.push(Mistake::new(&given.origin, problem));
        }
        Self {
            capture_head_bytes,
            ring_bytes,
            max_connections,
            memory: memory(raw.get("memory_limit"), mistakes),
            rules: Rules {
                include: rules(raw.get("include"), mistakes),
                exclude: rules(raw.get("exclude"), mistakes),
            },
            query: query(raw.get("query_allow")),
            service_names: service_names(raw.get("service_names"), mistakes),
            log: level(raw.get("log"), mistakes),
            listen: address(raw.get("listen"), mistakes),
            export_file: path(raw.get("export_file"), mistakes),
            deciding: Deciding::resolve(raw, mistakes),
            profiling: profiling::resolve(raw, mistakes),
            export_failover: raw
                .get("export_failover")
                .map(|given| items(given).into_iter().map(str::to_owned).collect())
                .unwrap_or_default(),
            export_in_flight,
            otlp_headers_file: path(raw.get("otlp_headers_file"), mistakes),
            otlp_bearer_token_file: path(raw.get("otlp_bearer_token_file"), mistakes),
            spool: spool(raw, mistakes),
        }
    }
}

fn size(given: &Given, min: u32, max: u32) -> Result<u32, String> {
    let text = one(given)?;
    let value = parse_size(text).map_err(|problem| format!("'{text}' does not fit: {problem}"))?;
    u32::try_from(value)
        .ok()
        .filter(|value| (min..=max).contains(value))
        .ok_or_else(|| format!("{value} is out of range, it goes from {min} to {max}"))
}

fn rules(given: Option<&Given>, mistakes: &mut Vec<Mistake>) -> Vec<Rule> {
    let Some(given) = given else {
        return Vec::new();
    };
    let mut rules = Vec::new();
    for item in items(given) {
        match Rule::parse(item) {
            Ok(rule) => rules.push(rule),
            Err(problem) => mistakes.push(Mistake::new(&given.origin, problem)),
        }
    }
    if rules.len() > MAX_RULES {
        mistakes.push(Mistake::new(
            &given.origin,
            format!("there can be {MAX_RULES} rules at most"),
        ));
    }
    rules
}

fn query(given: Option<&Given>) -> QueryPolicy {
    let names: Vec<&str> = given.map(items).unwrap_or_default();
    if names.is_empty() {
        QueryPolicy::Hide
    } else if names.contains(&"*") {
        QueryPolicy::Show
    } else {
        QueryPolicy::Names(names.into_iter().map(str::to_owned).collect())
    }
}

fn service_names(given: Option<&Given>, mistakes: &mut Vec<Mistake>) -> Vec<(String, String)> {
    let Some(given) = given else {
        return Vec::new();
    };
    let mut names = Vec::new();
    for item in items(given) {
        match item
            .split_once('=')
            .map(|(from, to)| (from.trim(), to.trim()))
        {
            Some((from, to)) if !from.is_empty() && !to.is_empty() => {
                names.push((from.to_owned(), to.to_owned()));
            }
            _ => mistakes.push(Mistake::new(
                &given.origin,
                format!("'{item}' is not of the form name=new name"),
            )),
        }
    }
    names
}

fn address(given: Option<&Given>, mistakes: &mut Vec<Mistake>) -> Option<SocketAddr> {
    let given = given?;
    let address = one(given).and_then(|text| {
        text.parse().map_err(|_| {
            format!("'{text}' is not an IP address with a port, such as 127.0.0.1:9464")
        })
    });
    address
        .map_err(|problem| mistakes.push(Mistake::new(&given.origin, problem)))
        .ok()
}

fn path(given: Option<&Given>, mistakes: &mut Vec<Mistake>) -> Option<PathBuf> {
    let given = given?;
    one(given)
        .map_err(|problem| mistakes.push(Mistake::new(&given.origin, problem)))
        .ok()
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
}

fn memory(given: Option<&Given>, mistakes: &mut Vec<Mistake>) -> MemoryShares {
    let Some(given) = given else {
        return MemoryShares::default();
    };
    match one(given).and_then(|text| long(text, MEMORY_LIMIT)) {
        Ok(limit) => MemoryShares::of(limit),
        Err(problem) => {
            mistakes.push(Mistake::new(&given.origin, problem));
            MemoryShares::default()
        }
    }
}

fn spool(raw: &Raw, mistakes: &mut Vec<Mistake>) -> Option<SpoolSettings> {
    let mut settings = SpoolSettings::new(PathBuf::new());
    let mut read = |key, set: &mut dyn FnMut(&str) -> Result<(), String>| {
        if let Some(given) = raw.get(key)
            && let Err(problem) = one(given).and_then(&mut *set)
        {
            mistakes.push(Mistake::new(&given.origin, problem));
        }
    };
    read("spool_bytes", &mut |text| {
        settings.bytes = long(text, SPOOL_BYTES)?;
        Ok(())
    });
    read("spool_drain_bytes", &mut |text| {
        settings.drain_bytes = long(text, SPOOL_DRAIN_BYTES)?;
        Ok(())
    });
    read("spool_sync", &mut |text| {
        let (min, _, max) = SPOOL_SYNC;
        settings.sync = parse_duration(text)
            .map_err(|problem| format!("'{text}' does not fit: {problem}"))
            .map(Duration::from_nanos)
            .and_then(|time| {
                let fits = (min..=max).contains(&time);
                fits.then_some(time)
                    .ok_or_else(|| format!("'{text}' is out of range, it goes from 0s to 60s"))
            })?;
        Ok(())
    });
    read("spool_compression", &mut |text| {
        settings.compress = match text {
            "none" => false,
            "zstd" => true,
            _ => return Err(format!("'{text}' is not known; there are none and zstd")),
        };
        Ok(())
    });
    settings.dir = path(raw.get("spool_dir"), mistakes)?;
    Some(settings)
}

fn long(text: &str, (min, _, max): (u64, u64, u64)) -> Result<u64, String> {
    let value = parse_size(text).map_err(|problem| format!("'{text}' does not fit: {problem}"))?;
    let fits = (min..=max).contains(&value);
    fits.then_some(value)
        .ok_or_else(|| format!("{value} is out of range, it goes from {min} to {max}"))
}

fn level(given: Option<&Given>, mistakes: &mut Vec<Mistake>) -> String {
    let Some(given) = given else {
        return "info".to_owned();
    };
    let problem = match one(given) {
        Ok(text) if LEVELS.contains(&text) => return text.to_owned(),
        Ok(text) => match did_you_mean(text, LEVELS) {
            Some(level) => format!("'{text}' is not a level; did you mean {level}?"),
            None => format!("'{text}' is not a level; there are {}", LEVELS.join(", ")),
        },
        Err(problem) => problem,
    };
    mistakes.push(Mistake::new(&given.origin, problem));
    "info".to_owned()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
