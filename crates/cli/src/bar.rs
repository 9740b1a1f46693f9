//! How far a long run is: a bar with an estimate on a terminal, a line for each step elsewhere.

use std::{
    io::{self, IsTerminal as _},
    time::{Duration, Instant},
};

use crate::output;

/// How many characters wide the bar is.
const WIDTH: usize = 24;

/// A run of so many steps.
#[derive(Debug)]
pub(crate) struct Bar {
    total: usize,
    over: usize,
    failed: usize,
    start: Instant,
    on_terminal: bool,
}

impl Bar {
    /// Starts to count.
    pub(crate) fn start(total: usize) -> Self {
        Self {
            total,
            over: 0,
            failed: 0,
            start: Instant::now(),
            on_terminal: io::stderr().is_terminal(),
        }
    }

    /// One step is over, in one way or another.
    pub(crate) fn step(&mut self, told: &str, is_good: bool) {
        self.count(is_good);
        if self.on_terminal {
            // Where nobody looks, nothing is lost.
            let _ = self.draw(&mut io::stderr().lock(), self.start.elapsed());
        } else {
            output::progress(&format!("{}/{} {told}", self.over, self.total));
        }
    }

    fn count(&mut self, is_good: bool) {
        self.over = self.over.saturating_add(1);
        if !is_good {
            self.failed = self.failed.saturating_add(1);
        }
    }

    /// Writes the line over the one before.
    fn draw(&self, out: &mut impl io::Write, elapsed: Duration) -> io::Result<()> {
        write!(out, "\r{}\u{1b}[K", self.line(elapsed))?;
        out.flush()
    }

    /// Leaves the line.
    pub(crate) fn finish(&self) {
        if self.on_terminal && self.over > 0 {
            eprintln!();
        }
    }

    fn line(&self, elapsed: Duration) -> String {
        let total = self.total.max(1);
        let part = |of: usize| of.saturating_mul(self.over).div_euclid(total);
        let full = part(WIDTH).min(WIDTH);
        let failed = match self.failed {
            0 => String::new(),
            failed => format!(", {failed} failed"),
        };
        let left = self.left(elapsed).map(|left| format!(", {left} left"));
        format!(
            "[{}{}] {}/{} {:>3}%{failed}{}",
            "#".repeat(full),
            "-".repeat(WIDTH.saturating_sub(full)),
            self.over,
            self.total,
            part(100),
            left.unwrap_or_default()
        )
    }

    /// About how long the rest takes, if it goes on like this.
    fn left(&self, elapsed: Duration) -> Option<String> {
        let rest = u32::try_from(self.total.saturating_sub(self.over)).ok()?;
        let over = u32::try_from(self.over).ok()?;
        let left = elapsed.checked_div(over)?.checked_mul(rest)?;
        if rest == 0 {
            return None;
        }
        let seconds = left.as_secs();
        Some(if seconds < 60 {
            format!("about {} s", seconds.max(1))
        } else if seconds < 3600 {
            format!("about {} min", seconds.div_ceil(60))
        } else {
            format!("about {} h", seconds.div_ceil(3600))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_says_how_far_it_is_and_about_how_long_the_rest_takes() {
        for (over, failed, seconds, expected) in [
            (0, 0, 5, "[------------------------] 0/8   0%"),
            (
                2,
                0,
                5,
                "[######------------------] 2/8  25%, about 15 s left",
            ),
            (
                4,
                1,
                300,
                "[############------------] 4/8  50%, 1 failed, about 5 min left",
            ),
            (
                1,
                0,
                1000,
                "[###---------------------] 1/8  12%, about 2 h left",
            ),
            (8, 2, 9, "[########################] 8/8 100%, 2 failed"),
        ] {
            let bar = Bar {
                total: 8,
                over,
                failed,
                start: Instant::now(),
                on_terminal: true,
            };

            assert_eq!(bar.line(Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn the_bar_is_drawn_over_itself() {
        let mut bar = Bar::start(2);
        let mut drawn = Vec::new();

        for is_good in [true, false] {
            bar.count(is_good);
            bar.draw(&mut drawn, Duration::from_secs(3)).unwrap();
        }

        let drawn = String::from_utf8(drawn).unwrap();
        let lines: Vec<_> = drawn.split('\r').collect();
        assert_eq!(
            lines,
            [
                "",
                "[############------------] 1/2  50%, about 3 s left\u{1b}[K",
                "[########################] 2/2 100%, 1 failed\u{1b}[K",
            ]
        );
    }
}
