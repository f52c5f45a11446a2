//! How the program ends: exit codes, and failures that carry their fix.

use std::fmt;

/// Exit code of the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// Done.
    Done,
    /// It was tried and failed.
    Failed,
    /// The command line makes no sense.
    Usage,
    /// A privilege or a kernel feature is missing.
    Unsupported,
    /// The configuration has mistakes.
    Config,
}

impl Exit {
    /// The number given to the shell.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unsupported => 3,
            Self::Config => 64,
        }
    }
}

/// Why a command could not do its work, and what helps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// Exit code that belongs to it.
    pub exit: Exit,
    /// What went wrong, one sentence without a full stop.
    pub message: String,
    /// What the user can do about it, if there is anything.
    pub fix: Option<String>,
}

impl Failure {
    /// A failure with [`Exit::Failed`].
    pub fn failed(message: impl fmt::Display) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// A failure with [`Exit::Usage`].
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// A failure with the given exit code.
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
            fix: None,
        }
    }

    /// Adds what the user can do.
    #[must_use]
    pub fn with_fix(mut self, fix: impl fmt::Display) -> Self {
        self.fix = Some(fix.to_string());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(fix) = &self.fix {
            write!(f, "\n  fix: {fix}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}
