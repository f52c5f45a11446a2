//! `remora completions`.

use clap::{Args, Command};
use clap_complete::Shell;

const EXAMPLES: &str = "\
Examples:
  remora completions bash > /etc/bash_completion.d/remora
  remora completions zsh > ~/.zfunc/_remora
  remora completions fish > ~/.config/fish/completions/remora.fish";

/// Print the completions of a shell
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl CompletionsArgs {
    /// The script for the shell.
    #[must_use]
    pub fn resolve(self, command: &mut Command) -> String {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, command, "remora", &mut script);
        String::from_utf8_lossy(&script).into_owned()
    }
}
