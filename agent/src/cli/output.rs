//! Flags that say what is shown, how, and how much.

use std::time::Duration;

use clap::Args;

use crate::config::query::QueryPolicy;
use crate::config::resolved::Config;
use crate::config::sampling::Deciding;
use crate::model::text::duration::parse_duration;
use crate::output::Format;

/// Output flags as they are typed.
#[derive(Clone, Default, Debug, Args)]
pub struct OutputArgs {
    /// table for people, or json: one object a line (see remora schema)
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        value_enum,
        default_value_t,
        hide_possible_values = true,
        help_heading = "Output"
    )]
    output: Format,

    /// Stop after this many requests were shown
    #[arg(
        short,
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u64).range(1..),
        help_heading = "Output"
    )]
    count: Option<u64>,

    /// Show query strings, which are personal data, in full
    #[arg(long, help_heading = "Output")]
    show_query: bool,

    /// End with a table of rate, errors and duration per service and route
    #[arg(long, help_heading = "Output")]
    red: bool,

    /// Show for every request whether the agent would keep its span, and why
    #[arg(long, help_heading = "Output")]
    explain_sampling: bool,
}

/// What is shown.
#[derive(Clone, Default, Debug)]
pub struct Output {
    /// How.
    pub format: Format,
    /// Stop after this many.
    pub count: Option<u64>,
    /// What of query strings.
    pub query: QueryPolicy,
    /// With a RED table at the end.
    pub red: bool,
    /// With the decision about every span.
    pub explain_sampling: bool,
    /// Routes and sampling.
    pub deciding: Deciding,
}

impl OutputArgs {
    /// Adds the settings that matter here.
    pub fn resolve(self, config: &Config) -> Output {
        Output {
            format: self.output,
            count: self.count,
            query: if self.show_query {
                QueryPolicy::Show
            } else {
                config.query.clone()
            },
            red: self.red,
            explain_sampling: self.explain_sampling,
            deciding: config.deciding.clone(),
        }
    }
}

/// A duration above zero, for flags.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        0 => Err("it must be longer than nothing".to_owned()),
        ns => Ok(Duration::from_nanos(ns)),
    }
}
