//! Filter flags. Their order matters to `--not`, which negates the next one, so they
//! are read by position and not by name.

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};

use crate::deciding::filter::{Filter, Property};

const NOT: &str = "not";
const HEADING: &str = "Filters";

/// The filter that the flags describe.
#[derive(Clone, Default, Debug)]
pub struct FilterArgs {
    /// What to show.
    pub filter: Filter,
}

fn arg(property: Property) -> Arg {
    let (value, help) = match property {
        Property::Pid => ("PID", "Process id"),
        Property::Comm => ("GLOB", "Command name, as in ps -o comm"),
        Property::Port => ("PORT", "TCP port of either end: 8080, or 80,443"),
        Property::Side => ("SIDE", "server (requests served) or client (requests made)"),
        Property::Protocol => (
            "NAME",
            "http/1.0, http/1.1, http/2, http (all three) or grpc",
        ),
        Property::Method => ("METHOD", "Request method: GET, or POST,PUT"),
        Property::Path => (
            "GLOB",
            "Path: '/users/*'; * is any text, ? any one character",
        ),
        Property::Status => ("STATUS", "Status: 404, 5xx, 400-499, or 404,5xx"),
        Property::MinDuration => ("TIME", "At least this long: 50ms, 1.5s"),
        Property::Container => ("ID", "Container id, or how it begins"),
        Property::Pod => ("UID", "Kubernetes pod UID, or how it begins"),
        Property::GrpcStatus => ("CODE", "gRPC status: 14 or UNAVAILABLE"),
    };
    let flag = Arg::new(property.flag()).long(property.flag());
    let flag = match property.short() {
        Some(letter) => flag.short(letter),
        None => flag,
    };
    flag.value_name(value)
        .help(help)
        .help_heading(HEADING)
        .action(ArgAction::Append)
}

impl Args for FilterArgs {
    fn augment_args(command: Command) -> Command {
        command.args(Property::ALL.map(arg)).arg(
            Arg::new(NOT)
                .long(NOT)
                .help(
                    "Negate the next filter. Values with commas between them, or a filter \
                     given twice, mean either; different filters must all hold",
                )
                .help_heading(HEADING)
                .num_args(0)
                .default_missing_value("")
                .action(ArgAction::Append),
        )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// A filter flag or a `--not` (which has no property), at its place in the command line.
struct Typed<'a> {
    index: usize,
    property: Option<Property>,
    value: &'a str,
}

fn typed(matches: &ArgMatches) -> Vec<Typed<'_>> {
    let named = |name: &str, property: Option<Property>| -> Vec<Typed<'_>> {
        let indices = matches.indices_of(name).into_iter().flatten();
        let values = matches.get_many::<String>(name).into_iter().flatten();
        indices
            .zip(values)
            .map(|(index, value)| Typed {
                index,
                property,
                value,
            })
            .collect()
    };
    let mut all: Vec<Typed<'_>> = Property::ALL
        .into_iter()
        .flat_map(|property| named(property.flag(), Some(property)))
        .chain(named(NOT, None))
        .collect();
    all.sort_by_key(|typed| typed.index);
    all
}

impl FromArgMatches for FilterArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut filter = Filter::default();
        let mut negated = false;
        for Typed {
            property, value, ..
        } in typed(matches)
        {
            match property {
                None if negated => return Err(wrong("'--not --not' negates nothing")),
                None => negated = true,
                Some(property) => {
                    filter
                        .add(property, value, negated)
                        .map_err(|error| wrong(&error.to_string()))?;
                    negated = false;
                }
            }
        }
        if negated {
            return Err(wrong(
                "'--not' needs a filter after it, such as --not --status 2xx",
            ));
        }
        filter.check().map_err(|error| wrong(&error.to_string()))?;
        Ok(Self { filter })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// An error in the style of clap's own; the usage is added where it is printed.
pub(super) fn wrong(message: &str) -> Error {
    Error::raw(ErrorKind::ValueValidation, message)
}
