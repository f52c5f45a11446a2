//! Ways to sample, by name.

/// How it is decided whether a span is kept.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Strategy {
    /// By rules, and within a budget.
    Adaptive,
    /// Every span.
    AlwaysOn,
    /// No span.
    AlwaysOff,
    /// Traces at random, consistently.
    Ratio(f64),
    /// As the parent was; what has no parent by ratio: 1 for `parentbased_always_on`, 0 for
    /// `parentbased_always_off`.
    ParentBased(f64),
}

/// Names, for messages.
pub const NAMES: [&str; 7] = [
    "adaptive",
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];

impl Strategy {
    /// The strategy of this name, with the ratio for those that have one.
    #[must_use]
    pub fn named(name: &str, ratio: f64) -> Option<Self> {
        Some(match name {
            "adaptive" => Self::Adaptive,
            "always_on" => Self::AlwaysOn,
            "always_off" => Self::AlwaysOff,
            "traceidratio" => Self::Ratio(ratio),
            "parentbased_always_on" => Self::ParentBased(1.0),
            "parentbased_always_off" => Self::ParentBased(0.0),
            "parentbased_traceidratio" => Self::ParentBased(ratio),
            _ => return None,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Adaptive => "adaptive",
            Self::AlwaysOn => "always_on",
            Self::AlwaysOff => "always_off",
            Self::Ratio(_) => "traceidratio",
            Self::ParentBased(ratio) if ratio >= 1.0 => "parentbased_always_on",
            Self::ParentBased(ratio) if ratio <= 0.0 => "parentbased_always_off",
            Self::ParentBased(_) => "parentbased_traceidratio",
        }
    }
}
