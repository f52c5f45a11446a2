//! How far sampling has come: a bar on a terminal, nothing elsewhere.

use crate::model::text::duration::ShortDuration;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Columns of the bar.
const BAR: usize = 30;
/// How often it is drawn.
const INTERVAL: Duration = Duration::from_millis(200);

/// A line on standard error that is drawn over and over.
#[derive(Debug)]
pub struct Progress {
    on: bool,
    start: Instant,
    whole: Option<Duration>,
    drawn: Option<Instant>,
}

impl Progress {
    /// Begins now; `whole` is how long sampling takes, if that is known.
    #[must_use]
    pub fn start(whole: Option<Duration>) -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self {
            on: io::stderr().is_terminal() && !dumb,
            start: Instant::now(),
            whole,
            drawn: None,
        }
    }

    /// Draws, if it is time to.
    pub fn show(&mut self, samples: u64) {
        let due = self.drawn.is_none_or(|drawn| drawn.elapsed() >= INTERVAL);
        if !self.on || !due {
            return;
        }
        self.drawn = Some(Instant::now());
        let line = line(self.start.elapsed(), self.whole, samples);
        // Whoever closed standard error does not want to see it.
        let _ = write!(io::stderr(), "\r{line}\x1b[K");
    }

    /// Takes the line away.
    pub fn clear(&mut self) {
        if self.drawn.take().is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn line(elapsed: Duration, whole: Option<Duration>, samples: u64) -> String {
    let short = |time: Duration| {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        ShortDuration(ns - ns % 100_000_000).to_string()
    };
    let passed = short(elapsed);
    match whole {
        None => format!("sampling: {passed}, {samples} samples"),
        Some(whole) => {
            let share = elapsed.as_secs_f64() / whole.as_secs_f64().max(0.001);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "at most the width of the bar"
            )]
            let full = (share.min(1.0) * BAR as f64) as usize;
            format!(
                "sampling: [{}{}] {passed} of {}, {samples} samples",
                "=".repeat(full),
                " ".repeat(BAR - full),
                short(whole)
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills_and_never_overflows() {
        let second = Duration::from_secs(1);
        let half = line(5 * second, Some(10 * second), 42);
        assert_eq!(
            half,
            "sampling: [===============               ] 5.00s of 10.0s, 42 samples"
        );
        let over = line(11 * second, Some(10 * second), 42);
        assert!(over.contains("[==============================]"), "{over}");
        assert_eq!(line(second, None, 7), "sampling: 1.00s, 7 samples");
        assert!(line(second, Some(Duration::ZERO), 0).contains("=]"));
    }
}
