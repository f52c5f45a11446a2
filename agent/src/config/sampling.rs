//! Settings of routes, metrics and sampling: what may change while the agent runs.

use super::Mistake;
use super::list::{items, one};
use super::raw::{Given, Raw};
use crate::deciding::metrics::DEFAULT_SERIES;
use crate::deciding::route::DEFAULT_ROUTES;
use crate::deciding::route::pattern::{MAX_PATTERNS, Pattern};
use crate::deciding::sampling::rule::{MAX_RULES, Rule, probability};
use crate::deciding::sampling::strategy::{NAMES, Strategy};
use crate::deciding::sampling::{INTERVAL, Settings, default_cap};
use crate::model::text::duration::parse_duration;
use crate::model::text::nearest::did_you_mean;

/// The standard variables for the strategy.
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SAMPLER_ARG: &str = "OTEL_TRACES_SAMPLER_ARG";
/// Largest rates, in spans per second.
const MAX_RATE: f64 = 1e9;
/// Smallest and largest number of series.
const SERIES: (usize, usize) = (100, 100_000);
/// Smallest and largest number of routes of a service.
const ROUTES: (usize, usize) = (16, 1024);

/// How requests are told apart, counted and sampled.
#[derive(Clone, PartialEq, Debug)]
pub struct Deciding {
    /// `sampling…`: which spans are kept.
    pub sampling: Settings,
    /// `routes`: patterns, in order.
    pub routes: Vec<Pattern>,
    /// `max_routes`: routes of a service and side.
    pub max_routes: usize,
    /// `metrics_max_series`: series of metrics.
    pub max_series: usize,
}

impl Default for Deciding {
    fn default() -> Self {
        Self {
            sampling: Settings::default(),
            routes: Vec::new(),
            max_routes: DEFAULT_ROUTES,
            max_series: DEFAULT_SERIES,
        }
    }
}

impl Deciding {
    /// Turns texts into values; notes all mistakes.
    pub(super) fn resolve(raw: &Raw, mistakes: &mut Vec<Mistake>) -> Self {
        let mut reader = Reader { raw, mistakes };
        let default = Settings::default();
        let strategy = reader.strategy();
        let budget = reader.number("sampling_spans_per_second", (0.0, MAX_RATE));
        let budget = budget.unwrap_or(default.budget);
        let cap = reader.number("sampling_max_spans_per_second", (1.0, MAX_RATE));
        let cap = cap.unwrap_or_else(|| default_cap(budget));
        if cap < budget {
            let problem = format!("the most ({cap}) is less than the budget ({budget})");
            reader.mistake("sampling_max_spans_per_second", problem);
        }
        let sampling = Settings {
            strategy: strategy.unwrap_or(default.strategy),
            budget,
            cap,
            interval: reader.interval().unwrap_or(default.interval),
            floor: reader
                .number("sampling_min_probability", (0.0, 1.0))
                .unwrap_or(default.floor),
            rules: reader.rules().unwrap_or(default.rules),
        };
        Self {
            sampling,
            routes: reader.routes(),
            max_routes: reader.count("max_routes", ROUTES).unwrap_or(DEFAULT_ROUTES),
            max_series: reader
                .count("metrics_max_series", SERIES)
                .unwrap_or(DEFAULT_SERIES),
        }
    }
}

struct Reader<'a> {
    raw: &'a Raw,
    mistakes: &'a mut Vec<Mistake>,
}

impl<'a> Reader<'a> {
    fn mistake(&mut self, key: &str, problem: impl std::fmt::Display) {
        let origin = self.raw.get(key).map_or(key, |given| &given.origin);
        self.mistakes.push(Mistake::new(origin, problem));
    }

    /// A value that is one text, read by `read`.
    fn read<T>(&mut self, key: &str, read: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let given = self.raw.get(key)?;
        one(given)
            .and_then(|text| read(text.trim()))
            .map_err(|problem| self.mistake(key, problem))
            .ok()
    }

    fn number(&mut self, key: &str, (min, max): (f64, f64)) -> Option<f64> {
        self.read(key, |text| match text.parse() {
            Ok(value) if (min..=max).contains(&value) => Ok(value),
            _ => Err(format!("'{text}' is not a number from {min} to {max}")),
        })
    }

    fn count(&mut self, key: &str, (min, max): (usize, usize)) -> Option<usize> {
        self.read(key, |text| match text.parse() {
            Ok(value) if (min..=max).contains(&value) => Ok(value),
            _ => Err(format!(
                "'{text}' is not a whole number from {min} to {max}"
            )),
        })
    }

    fn interval(&mut self) -> Option<f64> {
        let (min, _, max) = INTERVAL;
        self.read("sampling_interval", |text| {
            let seconds = parse_duration(text)? as f64 / 1e9;
            if (min..=max).contains(&seconds) {
                Ok(seconds)
            } else {
                Err(format!(
                    "'{text}' is out of range, it goes from {min}s to {max}s"
                ))
            }
        })
    }

    /// The own setting, else the standard variables. Those also know names that are not
    /// supported here: the specification asks to warn and go on, but an agent that samples
    /// otherwise than it was told does not say what it does.
    fn strategy(&mut self) -> Option<Strategy> {
        let own = self
            .raw
            .get("sampling")
            .map(|given| (given.origin.clone(), one(given).map(str::to_owned)));
        let standard = || {
            let origin = self.raw.otel_origin(SAMPLER)?.to_owned();
            Some((origin, Ok(self.raw.otel(SAMPLER)?.to_owned())))
        };
        let ratio = self.ratio();
        let (origin, name) = own.or_else(standard)?;
        let problem = match name {
            Ok(name) => match Strategy::named(&name, ratio) {
                Some(strategy) => return Some(strategy),
                None => match did_you_mean(&name, NAMES) {
                    Some(known) => format!("'{name}' is not a strategy; did you mean {known}?"),
                    None => format!("'{name}' is not a strategy; there are {}", NAMES.join(", ")),
                },
            },
            Err(problem) => problem,
        };
        self.mistakes.push(Mistake::new(origin, problem));
        None
    }

    fn ratio(&mut self) -> f64 {
        if let Some(ratio) = self.read("sampling_ratio", probability) {
            return ratio;
        }
        let Some(text) = self.raw.otel(SAMPLER_ARG) else {
            return 1.0;
        };
        probability(text).unwrap_or_else(|problem| {
            let origin = self.raw.otel_origin(SAMPLER_ARG).unwrap_or(SAMPLER_ARG);
            self.mistakes.push(Mistake::new(origin, problem));
            1.0
        })
    }

    fn list<T>(
        &mut self,
        given: &Given,
        most: usize,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let mut all = Vec::new();
        for item in items(given) {
            match read(item) {
                Ok(value) => all.push(value),
                Err(problem) => self.mistakes.push(Mistake::new(&given.origin, problem)),
            }
        }
        if all.len() > most {
            let problem = format!("there can be {most} at most");
            self.mistakes.push(Mistake::new(&given.origin, problem));
        }
        all
    }

    fn rules(&mut self) -> Option<Vec<Rule>> {
        let given = self.raw.get("sampling_rules")?;
        let rules = self.list(given, MAX_RULES, Rule::parse);
        for (at, rule) in rules.iter().enumerate() {
            if rules.iter().take(at).any(|other| other.name == rule.name) {
                let problem = format!(
                    "two rules have the name '{}'; write name=condition",
                    rule.name
                );
                self.mistakes.push(Mistake::new(&given.origin, problem));
            }
        }
        Some(rules)
    }

    fn routes(&mut self) -> Vec<Pattern> {
        match self.raw.get("routes") {
            Some(given) => self.list(given, MAX_PATTERNS, Pattern::parse),
            None => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::resolved::Config;
    use std::io::Write as _;

    fn load(text: &str, env: &[(&str, &str)]) -> Result<Deciding, Vec<Mistake>> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let env: Vec<_> = env.iter().map(own).collect();
        Config::load(Some(file.path()), &[], &env).map(|config| config.deciding)
    }

    #[test]
    fn everything_can_be_set() {
        let deciding = load(
            "sampling_spans_per_second: 250\nsampling_max_spans_per_second: 900\nsampling_interval: 15s\n\
             sampling_min_probability: 0.01\nsampling_rules:\n  - errors\n  - slow: 250ms\n  - checkout: path:/checkout/*\n\
             \x20 - health=path:/healthz@0\nroutes:\n  - /users/{id}\n  - shop: /items/{sku}\nmax_routes: 100\nmetrics_max_series: 5000\n",
            &[],
        )
        .unwrap();
        let sampling = &deciding.sampling;
        assert_eq!(
            (
                sampling.budget,
                sampling.cap,
                sampling.interval,
                sampling.floor
            ),
            (250.0, 900.0, 15.0, 0.01)
        );
        let names: Vec<&str> = sampling
            .rules
            .iter()
            .map(|rule| rule.name.as_str())
            .collect();
        assert_eq!(names, ["errors", "slow", "checkout", "health"]);
        assert_eq!(deciding.routes[1].service.as_deref(), Some("shop"));
        assert_eq!((deciding.max_routes, deciding.max_series), (100, 5000));
    }

    #[test]
    fn strategies_come_from_the_standard_variables_and_the_own_setting_wins() {
        let standard = [
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ];
        assert_eq!(
            load("", &standard).unwrap().sampling.strategy,
            Strategy::ParentBased(0.25)
        );
        assert_eq!(
            load("sampling: adaptive", &standard)
                .unwrap()
                .sampling
                .strategy,
            Strategy::Adaptive
        );
        let own = load("sampling: traceidratio\nsampling_ratio: 0.5", &[]).unwrap();
        assert_eq!(own.sampling.strategy, Strategy::Ratio(0.5));
        assert_eq!(load("", &[]).unwrap(), Deciding::default());
        let budget = load("", &[("REMORA_SAMPLING_SPANS_PER_SECOND", "7")]).unwrap();
        assert_eq!(budget.sampling.budget, 7.0);
    }

    #[test]
    fn all_mistakes_are_found() {
        let mistakes = load(
            "sampling: always\nsampling_spans_per_second: many\nsampling_max_spans_per_second: 10\nsampling_interval: 1h\n\
             sampling_rules: [errors, errors, wrong]\nroutes: [users]\nmax_routes: 1\nmetrics_max_series: 1\nsampling_ratio: 2\n",
            &[],
        )
        .unwrap_err();
        assert_eq!(mistakes.len(), 10, "{mistakes:#?}");
    }
}
