//! Lines for whoever reads them, and how far something has come. The standard macros panic where nobody reads any more.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// A line on the standard output: results.
macro_rules! say {
    ($($told:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($told)*);
    }};
}

/// A line on the standard error: how it goes.
macro_rules! tell {
    ($($told:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($told)*);
    }};
}

/// How often a line says how far a loop is, where there is no terminal for a bar.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// How far a loop has come, and how long it has to go.
pub(crate) struct Countdown {
    bar: ProgressBar,
    what: String,
    begun: Instant,
    told: Instant,
    done: usize,
    total: usize,
}

impl Countdown {
    /// Of so many parts; `what` is the word for the whole.
    pub(crate) fn of(what: impl Into<String>, total: usize) -> Self {
        let (what, now) = (what.into(), Instant::now());
        let bar = match std::io::stderr().is_terminal() {
            true => ProgressBar::new(total as u64),
            false => ProgressBar::hidden(),
        };
        let style = ProgressStyle::with_template("{msg} {bar:24} {pos}/{len} eta {eta}");
        bar.set_style(style.expect("a valid template"));
        bar.set_message(what.clone());
        Self {
            bar,
            what,
            begun: now,
            told: now,
            done: 0,
            total,
        }
    }

    /// Says anew what it is that is done.
    pub(crate) fn rename(&mut self, what: impl Into<String>) {
        self.what = what.into();
        self.bar.set_message(self.what.clone());
    }

    /// So many parts more are done.
    pub(crate) fn advance(&mut self, parts: usize) {
        self.done += parts;
        self.bar.set_position(self.done as u64);
        if self.bar.is_hidden() && self.told.elapsed() >= LINE_EVERY && self.done < self.total {
            self.told = Instant::now();
            let pace = self.begun.elapsed().as_secs_f64() / self.done.max(1) as f64;
            let left = pace * (self.total - self.done) as f64 / 60.0;
            tell!(
                "{}: {}/{}, {left:.1} min left",
                self.what,
                self.done,
                self.total
            );
        }
    }
}

impl Drop for Countdown {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
