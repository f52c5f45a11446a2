//! Which exchanges a user wants to see.
//!
//! Conditions on the same property are alternatives, conditions on different
//! properties must all hold, and every negated condition excludes what meets it:
//! `--status 404,5xx --not --path '/health*'` is "(404 or 5xx) and not below /health".
//! Nothing is allocated per exchange.

pub mod glob;
mod test;
pub mod value;

use crate::model::exchange::{Exchange, Protocol};
use glob::Glob;
pub use test::Property;
use test::Test;

/// A filter; the default one lets everything pass.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Filter {
    /// Alternatives per property, in the order of the properties.
    wanted: Vec<(Property, Vec<Test>)>,
    /// None of these may hold.
    unwanted: Vec<Test>,
}

/// A condition that cannot be applied.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("invalid value '{value}' for '--{}': {problem}", property.flag())]
pub struct FilterError {
    /// Property that was asked for.
    pub property: Property,
    /// Value as it was given.
    pub value: String,
    /// What the flag takes instead.
    pub problem: String,
}

/// Conditions of which no request meets all.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no request passes: {0}")]
pub struct Contradiction(String);

impl Filter {
    /// Adds a condition: the value of a flag, which may be a list of alternatives with
    /// commas between them.
    ///
    /// # Errors
    /// An item of the value makes no sense for the property, can never match, or names
    /// something that this version cannot tell. Nothing is added then.
    pub fn add(
        &mut self,
        property: Property,
        value: &str,
        negated: bool,
    ) -> Result<(), FilterError> {
        let item = |item: String| {
            value::test(property, &item).map_err(|problem| FilterError {
                property,
                value: item,
                problem,
            })
        };
        let tests: Vec<Test> = value::items(value)
            .into_iter()
            .map(item)
            .collect::<Result<_, _>>()?;
        if negated {
            self.unwanted.extend(tests);
            return Ok(());
        }
        match self.wanted.binary_search_by_key(&property, |(p, _)| *p) {
            Ok(at) => self.wanted[at].1.extend(tests),
            Err(at) => self.wanted.insert(at, (property, tests)),
        }
        Ok(())
    }

    /// Looks for conditions that exclude each other, whatever the request.
    ///
    /// # Errors
    /// Which ones do.
    pub fn check(&self) -> Result<(), Contradiction> {
        for (property, tests) in &self.wanted {
            if tests.iter().all(|test| self.unwanted.contains(test)) {
                let flag = property.flag();
                return Err(Contradiction(format!(
                    "--not --{flag} takes away all that --{flag} asks for"
                )));
            }
        }
        let grpc = |tests: &[Test]| {
            let is =
                |test: &Test| matches!(test, Test::Protocol(all) if all.contains(&Protocol::Grpc));
            tests.iter().any(is)
        };
        let of = |wanted: Property| self.wanted.iter().find(|(property, _)| *property == wanted);
        match (of(Property::GrpcStatus), of(Property::Protocol)) {
            (Some(_), Some((_, protocols))) if !grpc(protocols) => Err(Contradiction(
                "only calls of gRPC have a --grpc-status; use --protocol grpc, or leave \
                 --protocol out"
                    .to_owned(),
            )),
            _ => Ok(()),
        }
    }

    /// Whether everything passes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty() && self.unwanted.is_empty()
    }

    /// Process ids asked for; empty if any process will do.
    pub fn pids(&self) -> impl Iterator<Item = u32> {
        self.tests().filter_map(|test| match test {
            Test::Pid(pid) => Some(*pid),
            _ => None,
        })
    }

    /// Command names asked for; empty if any will do.
    pub fn comms(&self) -> impl Iterator<Item = &Glob> {
        self.tests().filter_map(|test| match test {
            Test::Comm(glob) => Some(glob),
            _ => None,
        })
    }

    /// How the ids of containers asked for begin; empty if any will do.
    pub fn containers(&self) -> impl Iterator<Item = &str> {
        self.tests().filter_map(|test| match test {
            Test::Container(id) => Some(id.as_str()),
            _ => None,
        })
    }

    /// How the UIDs of pods asked for begin; empty if any will do.
    pub fn pods(&self) -> impl Iterator<Item = &str> {
        self.tests().filter_map(|test| match test {
            Test::Pod(uid) => Some(uid.as_str()),
            _ => None,
        })
    }

    /// Least duration that passes, ns.
    #[must_use]
    pub fn min_duration(&self) -> u64 {
        let least = self.tests().filter_map(|test| match test {
            Test::MinDuration(ns) => Some(*ns),
            _ => None,
        });
        least.min().unwrap_or(0)
    }

    /// Conditions that are not negated.
    fn tests(&self) -> impl Iterator<Item = &Test> {
        self.wanted.iter().flat_map(|(_, tests)| tests)
    }

    /// Whether the exchange passes.
    #[must_use]
    pub fn passes(&self, exchange: &Exchange<'_>) -> bool {
        self.wanted
            .iter()
            .all(|(_, tests)| tests.iter().any(|test| test.matches(exchange)))
            && !self.unwanted.iter().any(|test| test.matches(exchange))
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
