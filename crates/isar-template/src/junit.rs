// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # JUnit XML
//!
//! What CI systems read: a suite for each package, with a case for each step and for each kind of finding. A
//! case fails only for what makes the exit code 7; what is allowed or not bad enough is output of a case that passes.

use std::fmt::Write as _;

use template_chroot::qa::{Finding, Kind, Outcome, PackageReport, QaReport, Severity, StepReport};

/// A document for all packages; `least` is how bad a finding must be to be a failure.
pub fn render(report: &QaReport, least: Severity) -> String {
    let suites: Vec<Suite> = report.packages.iter().map(|package| suite(package, least)).collect();
    let (tests, failures) = (sum(&suites, |s| s.cases.len()), sum(&suites, Suite::failures));
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let template = format!("{}:{}", report.template.name, report.template.version);
    let _ = writeln!(
        out,
        "<testsuites name=\"isar-template qa {}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\">",
        escape(&template)
    );
    for suite in &suites {
        let _ = writeln!(
            out,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\" time=\"{:.3}\">",
            escape(&suite.name),
            suite.cases.len(),
            suite.failures(),
            suite.cases.iter().filter(|c| c.skipped.is_some()).count(),
            suite.cases.iter().map(|c| c.seconds).sum::<f64>(),
        );
        for case in &suite.cases {
            case.render(&mut out, &suite.name);
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

fn sum(suites: &[Suite], of: impl Fn(&Suite) -> usize) -> usize {
    suites.iter().map(of).sum()
}

struct Suite {
    name: String,
    cases: Vec<Case>,
}

impl Suite {
    fn failures(&self) -> usize {
        self.cases.iter().filter(|case| case.failure.is_some()).count()
    }
}

#[derive(Default)]
struct Case {
    name: String,
    seconds: f64,
    /// Kind and text.
    failure: Option<(String, String)>,
    skipped: Option<String>,
    output: String,
}

fn suite(package: &PackageReport, least: Severity) -> Suite {
    let mut cases: Vec<Case> = package.steps.iter().map(|step| tried(package, step, least)).collect();
    cases.extend(Kind::ALL.iter().map(|kind| check(package, *kind, least)));
    Suite { name: format!("{} {}", package.package, package.version), cases }
}

fn tried(package: &PackageReport, step: &StepReport, least: Severity) -> Case {
    let mut case =
        Case { name: format!("step {}", step.step.word()), seconds: step.seconds, ..Case::default() };
    match step.outcome {
        Outcome::Ok => {}
        Outcome::Skipped => {
            case.skipped = Some(step.detail.clone().unwrap_or_else(|| "not tried".to_owned()));
        }
        Outcome::Failed => {
            let text = format!("dpkg failed: {}", step.step.word());
            match package.findings.iter().any(|f| f.step == step.step && f.counts(least)) {
                true => case.failure = Some(("step-failed".to_owned(), text)),
                false => case.output = format!("{text}, and nothing that it found counts"),
            }
        }
    }
    case
}

fn check(package: &PackageReport, kind: Kind, least: Severity) -> Case {
    let (bad, other): (Vec<&Finding>, Vec<&Finding>) =
        package.findings.iter().filter(|f| f.kind == kind).partition(|f| f.counts(least));
    let lines = |findings: &[&Finding]| findings.iter().map(|f| line(f)).collect::<Vec<_>>().join("\n");
    Case {
        name: format!("check {kind}"),
        failure: (!bad.is_empty()).then(|| (kind.word().to_owned(), lines(&bad))),
        output: lines(&other),
        ..Case::default()
    }
}

fn line(finding: &Finding) -> String {
    let path = finding.path.as_ref().map(|p| format!(" {p}")).unwrap_or_default();
    let allowed = finding.allowed.as_ref().map(|why| format!(" [allowed: {why}]")).unwrap_or_default();
    let (severity, step) = (finding.severity.word(), finding.step.word());
    format!("{severity}: {step}: '{}'{path}: {}{allowed}", finding.package, finding.detail)
}

impl Case {
    fn render(&self, out: &mut String, class: &str) {
        let (class, name, seconds) = (escape(class), escape(&self.name), self.seconds);
        let _ = write!(out, "    <testcase classname=\"{class}\" name=\"{name}\" time=\"{seconds:.3}\"");
        let mut inner = String::new();
        if let Some((kind, text)) = &self.failure {
            let first = text.lines().next().unwrap_or_default();
            let _ = writeln!(
                inner,
                "      <failure type=\"{}\" message=\"{}\">{}</failure>",
                escape(kind),
                escape(first),
                escape(text)
            );
        }
        if let Some(why) = &self.skipped {
            let _ = writeln!(inner, "      <skipped message=\"{}\"/>", escape(why));
        }
        if !self.output.is_empty() {
            let _ = writeln!(inner, "      <system-out>{}</system-out>", escape(&self.output));
        }
        match inner.is_empty() {
            true => out.push_str("/>\n"),
            false => {
                let _ = write!(out, ">\n{inner}    </testcase>\n");
            }
        }
    }
}

/// Text for attributes and elements. What XML cannot hold at all, such as escape sequences of a terminal, becomes U+FFFD.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // in an attribute they would become spaces
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            '\r' => out.push_str("&#13;"),
            c if c < ' ' || matches!(c, '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}') => {
                out.push('\u{fffd}')
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    use template_chroot::qa::{Step, Summary, TemplateId};

    fn report(findings: Vec<Finding>) -> QaReport {
        let steps =
            vec![StepReport { step: Step::Remove, outcome: Outcome::Failed, seconds: 0.5, detail: None }];
        let text = |text: &str| text.to_owned();
        QaReport {
            version: 1,
            template: TemplateId { name: text("t"), version: text("1"), digest: text("sha256:0") },
            packages: vec![PackageReport {
                package: text("app"),
                version: text("1"),
                architecture: text("all"),
                file: text("app.deb"),
                sha256: text("0"),
                steps,
                findings,
            }],
            summary: Summary::default(),
            unused_allowances: Vec::new(),
        }
    }

    #[test]
    fn failures_are_what_the_exit_code_counts() {
        let finding = |kind: Kind, step| Finding {
            kind,
            severity: kind.severity(),
            package: "app".to_owned(),
            path: None,
            detail: "why".to_owned(),
            step,
            allowed: None,
        };
        let failed = finding(Kind::ScriptFailed, Step::Remove);
        let allowed = Finding { allowed: Some("known".to_owned()), ..failed.clone() };
        let user = finding(Kind::UserLeft, Step::Purge);
        for (findings, least, failures) in [
            (vec![failed], Severity::Error, 2),
            (vec![allowed.clone()], Severity::Error, 0),
            (vec![allowed.clone(), user.clone()], Severity::Error, 0),
            (vec![allowed, user], Severity::Warning, 1),
        ] {
            let report = report(findings);
            let text = render(&report, least);
            assert_eq!(text.matches("<failure ").count(), failures, "{text}");
            assert_eq!(report.fails(least), failures > 0);
            assert!(text.contains(": why"), "{text}");
        }
    }

    #[test]
    fn hostile_text_stays_text() {
        assert_eq!(
            escape("</failure><x a=\"1\">&\n\u{1b}[2J\0"),
            "&lt;/failure&gt;&lt;x a=&quot;1&quot;&gt;&amp;&#10;\u{fffd}[2J\u{fffd}"
        );
    }
}
