// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What differs, for machines
//!
//! docs/schemas/diff-v1.schema.json describes it.

use serde_json::{Map, Value, json};
use template_bundle::diff::{Change, Diff, Options, packages};

use super::load::About;
use super::words;

/// The fields of the report.
pub fn fields(sides: &[About; 2], options: &Options, diff: &Diff) -> Value {
    let mut fields = json!({
        "differs": !diff.is_empty(),
        "left": sides[0],
        "right": sides[1],
        "compared": options.sections,
        "times": options.times,
        "summary": summary(diff),
    });
    if let (Value::Object(fields), Ok(Value::Object(sections))) = (&mut fields, serde_json::to_value(diff)) {
        fields.extend(sections);
    }
    fields
}

fn summary(diff: &Diff) -> Value {
    let mut out = Map::new();
    if let Some(list) = &diff.packages {
        let counts: Map<String, Value> = packages::Fate::ALL
            .into_iter()
            .map(|fate| (key(&fate), json!(count(list, |p| p.change == fate))))
            .collect();
        out.insert("packages".into(), Value::Object(counts));
        out.insert("installedSizeChange".into(), json!(packages::size_change(list)));
    }
    if let Some(list) = &diff.files {
        let counts: Map<String, Value> = [Change::Added, Change::Removed, Change::Changed]
            .into_iter()
            .map(|change| (key(&change), json!(count(list, |f| f.change() == change))))
            .collect();
        out.insert("files".into(), Value::Object(counts));
        out.insert("fileSizeChange".into(), json!(words::files_size_change(list.iter())));
    }
    Value::Object(out)
}

/// The word that stands for a value in JSON.
fn key(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_string)).unwrap_or_default()
}

fn count<T>(list: &[T], is: impl Fn(&T) -> bool) -> usize {
    list.iter().filter(|item| is(item)).count()
}
