//! The distinct unwind rules of all binaries: a host has a few thousand.

use remora_common::profile::{RULES, Rule, cfa};
use rustc_hash::FxHashMap;

/// Rules by number. Numbers are never given again, so that rows stay right.
#[derive(Debug)]
pub struct Rules {
    numbers: FxHashMap<Rule, u16>,
    list: Vec<Rule>,
    /// Rules there was no number for.
    refused: u64,
}

/// Number of the rule for addresses that no row covers.
pub(super) const GAP: u16 = 0;
/// Number of the rule for what is not supported.
pub(super) const UNSUPPORTED: u16 = 1;

impl Default for Rules {
    fn default() -> Self {
        let mut rules = Self {
            numbers: FxHashMap::default(),
            list: Vec::new(),
            refused: 0,
        };
        rules.number(Rule::plain(cfa::GUESS));
        rules.number(Rule::plain(cfa::UNSUPPORTED));
        rules
    }
}

impl Rules {
    /// The number of a rule; that of [`UNSUPPORTED`] once there are too many.
    pub fn number(&mut self, rule: Rule) -> u16 {
        if let Some(number) = self.numbers.get(&rule) {
            return *number;
        }
        let Some(number) = u16::try_from(self.list.len())
            .ok()
            .filter(|number| u32::from(*number) < RULES)
        else {
            self.refused += 1;
            return UNSUPPORTED;
        };
        self.list.push(rule);
        self.numbers.insert(rule, number);
        number
    }

    /// All rules, by number.
    #[must_use]
    pub fn list(&self) -> &[Rule] {
        &self.list
    }

    /// How often there was no number left for a rule.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_rules_have_one_number_and_the_full_table_says_so() {
        let mut rules = Rules::default();
        assert_eq!(rules.number(Rule::plain(cfa::GUESS)), GAP);
        assert_eq!(rules.number(Rule::plain(cfa::UNSUPPORTED)), UNSUPPORTED);
        let rule = |offset| Rule {
            offset,
            ..Rule::plain(cfa::RSP)
        };
        let first = rules.number(rule(8));
        assert_eq!(rules.number(rule(8)), first);
        for offset in 0..40_000 {
            rules.number(rule(offset));
        }
        assert_eq!(rules.list().len(), RULES as usize);
        assert_eq!(rules.number(rule(-1)), UNSUPPORTED);
        assert_eq!(rules.refused(), 40_001 - u64::from(RULES) + 2);
    }
}
