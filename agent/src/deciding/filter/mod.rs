//! Which exchanges a user wants to see.
//!
//! Conditions on the same property are alternatives, conditions on different
//! properties must all hold, and every negated condition excludes what meets it:
//! `--status 404 --status 5xx --not --path '/health*'` is
//! "(404 or 5xx) and not below /health". Nothing is allocated per exchange.

pub mod glob;
mod test;

use crate::model::exchange::Exchange;
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

impl Filter {
    /// Adds a condition.
    ///
    /// # Errors
    /// The value makes no sense for the property, or names something that this
    /// version cannot tell.
    pub fn add(
        &mut self,
        property: Property,
        value: &str,
        negated: bool,
    ) -> Result<(), FilterError> {
        let test = Test::parse(property, value).map_err(|problem| FilterError {
            property,
            value: value.to_owned(),
            problem,
        })?;
        if negated {
            self.unwanted.push(test);
            return Ok(());
        }
        match self.wanted.binary_search_by_key(&property, |(p, _)| *p) {
            Ok(at) => self.wanted[at].1.push(test),
            Err(at) => self.wanted.insert(at, (property, vec![test])),
        }
        Ok(())
    }

    /// Whether everything passes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty() && self.unwanted.is_empty()
    }

    /// Process ids asked for; empty if any process will do.
    pub fn pids(&self) -> impl Iterator<Item = u32> {
        self.wanted
            .iter()
            .flat_map(|(_, tests)| tests)
            .filter_map(|test| match test {
                Test::Pid(pid) => Some(*pid),
                _ => None,
            })
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
