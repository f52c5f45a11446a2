//! `remora schema`.

use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::model::exit::Failure;
use crate::output::schema;

const EXAMPLES: &str = "\
Examples:
  remora schema                  of any line
  remora schema request          of the requests that trace and replay print
  remora schema summary          of their last line
  remora schema doctor           of the checks that doctor prints
  remora schema profile          of the lines that profile prints";

/// Print the JSON Schema (2020-12) of what -o json prints
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct SchemaArgs {
    /// Kind of object
    #[arg(value_parser = PossibleValuesParser::new(schema::ALL.map(|(name, _)| name)))]
    name: Option<String>,
}

impl SchemaArgs {
    /// The text of the schema.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn resolve(self) -> Result<String, Failure> {
        match self.name {
            None => Ok(schema::any_line()),
            Some(name) => schema::by_name(&name)
                .map(str::to_owned)
                .ok_or_else(|| Failure::usage(format!("there is no schema '{name}'"))),
        }
    }
}
