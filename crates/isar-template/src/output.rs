// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Results, errors and the log
//!
//! Results go to standard output, everything else to standard error. The form of the output never changes the exit
//! code.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use nix::errno::Errno;
use serde_json::{Value, json};
use template_bundle::Kind;
use template_bundle::error::IoContext;
use template_chroot::ChrootError;

use crate::cli::{Cli, Format, Global};

/// Version of the JSON reports.
const REPORT_VERSION: u32 = 1;

/// Sets up the log on standard error.
pub fn init_log(global: &Global) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, _) => "debug",
    };
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(level))
        .format(|buf, record| {
            let style = buf.default_level_style(record.level());
            let level = record.level();
            writeln!(buf, "[{style}{level:<5}{style:#}] {}", printable(&record.args().to_string()))
        })
        .init();
}

/// A line on standard error, if there is anybody to read it.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Text for a terminal: what bundles and package scripts say must not move its cursor.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

/// Characters that are not seen, or that change the order of others.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Text as it can be shown: on one line, everything in it visible.
pub fn plain(text: &str) -> String {
    text.chars()
        .flat_map(|c| if is_hidden(c) { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
        .collect()
}

/// Prints a result: `fields` as JSON, or the text for people.
pub fn result(cli: &Cli, fields: Value, human: impl FnOnce(&mut String)) -> anyhow::Result<()> {
    print(cli, json!({ "ok": true, "command": cli.verb.name() }), fields, human)
}

/// Prints a result that is also a failure: the answer to the question, and why it must not be done. Returns the
/// exit code.
pub fn refused(
    cli: &Cli,
    error: &anyhow::Error,
    fields: Value,
    human: impl FnOnce(&mut String),
) -> anyhow::Result<u8> {
    let failure = classify(error);
    let head = json!({ "ok": false, "command": cli.verb.name(), "error": failure.json() });
    print(cli, head, fields, human)?;
    failure.tell();
    Ok(failure.code)
}

fn print(cli: &Cli, head: Value, fields: Value, human: impl FnOnce(&mut String)) -> anyhow::Result<()> {
    let mut text = String::new();
    match cli.global.format {
        Format::Human => {
            human(&mut text);
            text = printable(&text);
        }
        Format::Json => {
            let mut report = json!({ "version": REPORT_VERSION });
            if let Value::Object(report) = &mut report {
                report.extend([head, fields].into_iter().filter_map(|v| v.as_object().cloned()).flatten());
            }
            let _ = writeln!(text, "{report}");
        }
    }
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // the reader has seen enough
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other.doing("writing", "standard output")?),
    }
}

struct Failure {
    kind: String,
    message: String,
    hint: Option<String>,
    code: u8,
}

impl Failure {
    /// For people.
    fn tell(&self) {
        say(&printable(&format!("error: {}", self.message)));
        if let Some(hint) = &self.hint {
            say(&printable(&format!("hint: {hint}")));
        }
    }

    /// What the system does not allow is a matter of privilege, wherever it is noticed.
    fn denied(mut self) -> Self {
        if self.kind == "io" && has_errno(&self.message, &[Errno::EACCES, Errno::EPERM]) {
            let kind = Kind::Privilege;
            (self.kind, self.code) = (kind.name().into(), kind.exit_code());
        }
        self
    }

    /// For machines.
    fn json(&self) -> Value {
        json!({ "kind": self.kind, "message": self.message, "hint": self.hint, "exitCode": self.code })
    }
}

/// Finds the error that carries a kind, and puts what was added to it before its message.
fn classify(error: &anyhow::Error) -> Failure {
    let message = error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ");
    for cause in error.chain() {
        if let Some(e) = cause.downcast_ref::<template_bundle::Error>() {
            let hint = e.hint.clone().or_else(|| usual_hint(e.kind.name(), &e.message));
            return Failure { kind: e.kind.name().into(), message, hint, code: e.kind.exit_code() }.denied();
        }
        if let Some(e) = cause.downcast_ref::<ChrootError>() {
            let hint = e.hint().or_else(|| usual_hint(e.kind(), &e.to_string()));
            return Failure { kind: e.kind().to_string(), message, hint, code: e.exit_code() }.denied();
        }
    }
    let hint = usual_hint("internal", &message);
    Failure { kind: "internal".into(), message, hint, code: 1 }
}

/// Whether a message has what the system says for one of these.
fn has_errno(message: &str, of: &[Errno]) -> bool {
    // one library says "Disk quota exceeded", another one "Quota exceeded"
    let message = message.to_lowercase();
    of.iter().any(|errno| message.contains(&errno.desc().to_lowercase()))
}

/// What to do about an error that does not say so itself.
fn usual_hint(kind: &str, message: &str) -> Option<String> {
    let hint = match kind {
        "damaged" | "blob-missing" | "digest-differs" => {
            "it was altered or damaged, or something else has made it: get it from its publisher again"
        }
        "internal" => {
            "this is a mistake in isar-template: please report it, with the command and what it says with -vv"
        }
        "missing-tool" => {
            "the template has to have it: use another component, or install the package that it is in"
        }
        "not-solvable" => {
            "'apt-cache policy' in an instance (exec) shows what apt knows; --update all has it look for more"
        }
        "network" => "try again; when it stays, ask who runs the server",
        "io" if has_errno(message, &[Errno::ENOSPC, Errno::EDQUOT]) => {
            "free some space, or use a larger disk: what was begun is not kept"
        }
        "io" if has_errno(message, &[Errno::EACCES, Errno::EPERM]) => {
            "run it as the user who may do this, or with sudo"
        }
        "io" if has_errno(message, &[Errno::ENOENT, Errno::ENOTDIR]) => "check the path",
        "io" if has_errno(message, &[Errno::EROFS]) => "use a place that can be written to",
        _ => return None,
    };
    Some(hint.to_owned())
}

/// Prints an error and returns its exit code.
pub fn failure(cli: &Cli, error: &anyhow::Error) -> ExitCode {
    let failure = classify(error);
    print_failure(cli.global.format == Format::Json, Some(cli.verb.name()), &failure);
    ExitCode::from(failure.code)
}

fn print_failure(as_json: bool, command: Option<&str>, failure: &Failure) {
    failure.tell();
    if as_json {
        let head =
            json!({ "version": REPORT_VERSION, "ok": false, "command": command, "error": failure.json() });
        let _ = writeln!(std::io::stdout(), "{head}");
    }
}

/// Prints help, version, or what is wrong with the command line.
pub fn usage_error(mut error: clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    // how a value is written that looks like an option: none of ours does
    error.remove(ContextKind::Suggested);
    let is_word = matches!(error.get(ContextKind::InvalidArg), Some(ContextValue::String(arg)) if !arg.starts_with('-'));
    let usage = error.get(ContextKind::Usage).map(ToString::to_string).unwrap_or_default();
    if is_word && usage.contains("isar-template exec ") {
        let tip = "the command of exec goes behind '--'";
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    let args: Vec<String> = std::env::args().collect();
    let as_json =
        args.iter().any(|a| a == "--format=json") || args.windows(2).any(|w| w == ["--format", "json"]);
    if as_json {
        let text = error.render().to_string();
        // the arguments that are missing have lines of their own
        let lines: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).collect();
        let message = lines.join("\n").trim_start_matches("error: ").to_string();
        let hint = Some("isar-template --help tells the usage".to_string());
        print_failure(true, None, &Failure { kind: "usage".into(), message, hint, code: 2 });
    } else {
        let _ = error.print();
    }
    ExitCode::from(2)
}

/// A number of things, in words: "1 file", "2 files".
pub fn count(number: usize, thing: &str) -> String {
    match number {
        1 => format!("1 {thing}"),
        n => format!("{n} {thing}s"),
    }
}

/// A size for people.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// Lines of equal columns.
pub fn table(out: &mut String, rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |at: usize| rows.iter().filter_map(|r| r.get(at)).map(|c| c.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            // a cell is a line: none that looks like a row of its own
            let cell = cell.replace(['\n', '\t'], " ");
            let _ = write!(line, "{cell:<width$}  ");
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untrusted_text_neither_moves_the_cursor_nor_makes_rows() {
        assert_eq!(printable("a\u{1b}[1A\r\nb"), "a\\u{1b}[1A\\r\nb");
        let mut out = String::new();
        table(&mut out, &[vec!["created".into(), "now\nsigned  by somebody".into()]]);
        assert_eq!(out.lines().count(), 1);
    }

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in
            [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_115_000_000, "1.1 GB"), (999_600, "1.0 MB")]
        {
            assert_eq!(size(bytes), text);
        }
    }
}
