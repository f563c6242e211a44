// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # A plan as people read it

use super::action::{Action, AskedBy, Operation};
use super::plan::Plan;

/// The plan as a table for people. What is refused is not in it: that is the error that follows.
pub fn render_table(plan: &Plan) -> String {
    let mut rows: Vec<[String; 6]> =
        vec![["action", "package", "version", "from", "asked by", "size"].map(str::to_owned)];
    for a in &plan.actions {
        let version = match (&a.old_version, &a.new_version) {
            (Some(old), Some(new)) if old != new => format!("{old} -> {new}"),
            (_, Some(new)) => new.clone(),
            (old, None) => old.clone().unwrap_or_default(),
        };
        let package = if a.architecture == plan.base.architecture || a.architecture == "all" {
            a.package.clone()
        } else {
            format!("{}:{}", a.package, a.architecture)
        };
        rows.push([
            word(a).to_owned(),
            package,
            version,
            from(a),
            asked_by(a),
            a.size.map(|size| bytes(size as i64)).unwrap_or_default(),
        ]);
    }
    for kept in &plan.keep {
        rows.push([
            "keep".to_owned(),
            kept.package.clone(),
            kept.version.clone(),
            kept.provided_by.clone().unwrap_or_default(),
            AskedBy::Request.word().to_owned(),
            String::new(),
        ]);
    }
    let mut out = String::new();
    if rows.len() > 1 {
        let width = |column: usize| rows.iter().map(|r| r[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..6).map(width).collect();
        for row in &rows {
            let mut line = String::from(" ");
            for (column, cell) in row.iter().enumerate() {
                let pad = " ".repeat(widths[column].saturating_sub(cell.chars().count()));
                // numbers to the right
                let cell = if column == 5 { format!("{pad}{cell}") } else { format!("{cell}{pad}") };
                line.push_str(&format!(" {cell} "));
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
    }
    let summary = summary(plan);
    if !summary.is_empty() {
        out.push_str(&format!("{summary}\n"));
    }
    for module in &plan.orphaned_modules {
        out.push_str(&format!("kernel {} goes, and leaves {module}\n", module.kernel));
    }
    for a in &plan.affected {
        out.push_str(&format!(
            "affected: '{}' (recipe '{}') links {}; {}; compatible: {}; rebuild: {}\n",
            a.package,
            a.recipe,
            a.soname,
            a.reason,
            a.compatible.word(),
            a.rebuild.word()
        ));
    }
    for note in &plan.notes {
        out.push_str(&format!("note: {note}\n"));
    }
    out
}

/// What goes because of what comes is replaced.
fn word(action: &Action) -> &'static str {
    if action.replaced_by.is_empty() { action.operation.word() } else { "replace" }
}

fn from(action: &Action) -> String {
    let origin = match (&action.origin, action.replaced_by.as_slice()) {
        (Some(origin), _) => origin.to_string(),
        (None, []) => String::new(),
        (None, by) => format!("by {}", some(by)),
    };
    match (action.self_built, origin.is_empty()) {
        (false, _) => origin,
        (true, true) => "(self-built)".to_owned(),
        (true, false) => format!("{origin} (self-built)"),
    }
}

fn asked_by(action: &Action) -> String {
    match action.asked_by {
        AskedBy::Request | AskedBy::AutoRemove => action.asked_by.word().to_owned(),
        AskedBy::Dependency | AskedBy::Consequence => {
            match [action.due_to.as_slice(), action.replaced_by.as_slice()].concat().as_slice() {
                [] => action.asked_by.word().to_owned(),
                names => some(names),
            }
        }
    }
}

/// A few of many names.
fn some(names: &[String]) -> String {
    match names {
        [one, two, rest @ ..] if !rest.is_empty() => format!("{one}, {two} and {} more", rest.len()),
        few => few.join(", "),
    }
}

fn summary(plan: &Plan) -> String {
    if plan.nothing_to_do {
        return "nothing to do".to_owned();
    }
    let replaced = plan.actions.iter().filter(|a| !a.replaced_by.is_empty()).count();
    let count = |operation| {
        let all = plan.actions.iter().filter(|a| a.operation == operation);
        all.filter(|a| a.replaced_by.is_empty()).count()
    };
    let mut parts: Vec<String> = [
        (Operation::Install, "to install"),
        (Operation::Upgrade, "to upgrade"),
        (Operation::Downgrade, "to downgrade"),
        (Operation::Reinstall, "to reinstall"),
        (Operation::Remove, "to remove"),
    ]
    .into_iter()
    .filter(|(operation, _)| count(*operation) > 0)
    .map(|(operation, what)| format!("{} {what}", count(operation)))
    .collect();
    if replaced > 0 {
        parts.push(format!("{replaced} to replace"));
    }
    for (auto, what) in [(true, "to mark automatic"), (false, "to mark manual")] {
        match plan.marks.iter().filter(|m| m.auto == auto).count() {
            0 => {}
            n => parts.push(format!("{n} {what}")),
        }
    }
    if plan.kept > 0 {
        parts.push(format!("{} stay as they are", plan.kept));
    }
    let size = match plan.installed_size_change {
        0 => String::new(),
        change if change > 0 => format!(", {} more on disk", bytes(change)),
        change => format!(", {} less on disk", bytes(-change)),
    };
    let download = match plan.download_size {
        0 => String::new(),
        size => format!("; {} to download", bytes(size as i64)),
    };
    format!("{}{download}{size}", parts.join(", "))
}

/// As apt prints sizes.
fn bytes(size: i64) -> String {
    let mut value = size as f64;
    for unit in ["B", "kB", "MB"] {
        if value < 1000.0 {
            return if unit == "B" || value >= 100.0 {
                format!("{value:.0} {unit}")
            } else {
                format!("{value:.1} {unit}")
            };
        }
        value /= 1000.0;
    }
    format!("{value:.1} GB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        let table = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (152_412, "152 kB"),
            (12_345_678, "12.3 MB"),
            (2_000_000_000, "2.0 GB"),
        ];
        for (size, expected) in table {
            assert_eq!(bytes(size), expected);
        }
    }
}
