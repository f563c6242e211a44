// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Progress
//!
//! A bar with step, rate and time left on a terminal; a line for each step elsewhere; `NN%` lines for bitbake. All of
//! it on standard error.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::Duration;

use console::Term;
use indicatif::{ProgressBar, ProgressStyle};
use template_bundle::pack;
use template_bundle::{Error, Kind, Result};

use crate::cli::{Global, ProgressMode};
use crate::output;

/// Terminals with fewer columns have no room for a bar.
const NARROW: u16 = 60;
const TICK: Duration = Duration::from_millis(200);

/// Shows what is going on.
pub struct Progress {
    mode: Mode,
    verb: &'static str,
    state: Mutex<State>,
}

enum Mode {
    Bar(ProgressBar),
    Plain,
    Bitbake,
    Silent,
}

#[derive(Default)]
struct State {
    step: String,
    total: u64,
    done: u64,
    percent: u64,
}

impl Progress {
    /// For a verb, as the user wants it.
    pub fn new(global: &Global, verb: &'static str) -> Self {
        let mode = match global.progress {
            _ if global.quiet => Mode::Silent,
            ProgressMode::None => Mode::Silent,
            ProgressMode::Plain => Mode::Plain,
            ProgressMode::Bitbake => Mode::Bitbake,
            ProgressMode::Auto if std::io::stderr().is_terminal() => Mode::Bar(ProgressBar::no_length()),
            ProgressMode::Auto => Mode::Plain,
        };
        Progress { mode, verb, state: Mutex::default() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A step of which only the name is known.
    pub fn step(&self, what: &str) {
        pack::Progress::begin(self, what, 0);
    }

    /// How far the present step is, for work that counts itself.
    pub fn percent(&self, percent: f32, what: &str) {
        let mut state = self.state();
        if let Mode::Bar(bar) = &self.mode {
            if state.total != 100 {
                bar.set_style(Known::Percent.style());
                bar.set_length(100);
            }
            bar.set_message(output::plain(&format!("{}: {what}", state.step)));
        }
        state.total = 100;
        // a float that is cut to 0..=100 fits
        let percent = percent.clamp(0.0, 100.0) as u64;
        if percent > state.done {
            let more = percent - state.done;
            self.add(&mut state, more);
        }
    }

    /// A line of output beside the progress.
    pub fn line(&self, line: &str) {
        let line = &output::printable(line);
        match &self.mode {
            Mode::Bar(bar) => bar.println(line),
            _ => output::say(line),
        }
    }

    /// Several lines.
    pub fn text(&self, text: &str) {
        text.lines().for_each(|line| self.line(line));
    }

    fn add(&self, state: &mut State, n: u64) {
        state.done += n;
        match &self.mode {
            Mode::Bar(bar) => bar.inc(n),
            Mode::Bitbake if state.total > 0 => {
                let percent = (state.done * 100 / state.total).min(100);
                if percent > state.percent {
                    state.percent = percent;
                    output::say(&format!("{} {}: {percent}%", self.verb, state.step));
                }
            }
            _ => {}
        }
    }

    /// Clears the bar, so that what is printed next stands alone.
    pub fn finish(&self) {
        if let Mode::Bar(bar) = &self.mode {
            bar.finish_and_clear();
        }
    }
}

/// What is known of a step.
enum Known {
    Bytes,
    Percent,
    Nothing,
}

impl Known {
    /// What fits into a line of the terminal, which may have another width than for the last step.
    fn style(&self) -> ProgressStyle {
        let is_narrow = Term::stderr().size_checked().is_some_and(|(_, columns)| columns < NARROW);
        let template = match (self, is_narrow) {
            (Known::Bytes, false) => "{prefix} {msg} {wide_bar} {percent:>3}% {decimal_bytes_per_sec} {eta}",
            (Known::Percent, false) => "{prefix} {wide_msg} {bar:20} {percent:>3}% {eta}",
            (Known::Nothing, false) => "{prefix} {wide_msg} {elapsed}",
            (Known::Nothing, true) => "{wide_msg} {elapsed}",
            (_, true) => "{wide_msg} {percent:>3}% {eta}",
        };
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
    }
}

impl pack::Progress for Progress {
    fn begin(&self, what: &str, bytes: u64) {
        let mut state = self.state();
        *state = State { step: what.to_string(), total: bytes, ..State::default() };
        match &self.mode {
            Mode::Bar(bar) => {
                let known = if bytes > 0 { Known::Bytes } else { Known::Nothing };
                bar.set_style(known.style());
                bar.set_prefix(self.verb);
                bar.set_message(what.to_string());
                bar.set_length(bytes);
                bar.set_position(0);
                bar.reset();
                // how long it takes goes on while nothing else happens
                bar.enable_steady_tick(TICK);
            }
            Mode::Plain | Mode::Bitbake => output::say(&format!("{}: {what}", self.verb)),
            Mode::Silent => {}
        }
    }

    fn advance(&self, bytes: u64) -> Result<()> {
        self.add(&mut self.state(), bytes);
        template_chroot::watch::check().map_err(|e| Error::new(Kind::Interrupted, e.to_string()))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}
