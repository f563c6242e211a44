// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # HTML pages
//!
//! Markup is what is written in the source of this program; all else is text, and is escaped. No other way leads into a
//! page, so what a file is called can never become markup.

use std::path::Path;

use template_bundle::aside;
use template_bundle::writer::parent_of;
use template_bundle::{Error, Result};

/// A page, or a part of one.
#[derive(Default)]
pub struct Html(String);

impl Html {
    /// Adds markup, which is known when this program is compiled.
    pub fn markup(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Adds text.
    pub fn text(&mut self, text: &str) -> &mut Self {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // none is left where names were spelled out
                c if c.is_control() && c != '\n' => self.0.push('\u{fffd}'),
                c => self.0.push(c),
            }
        }
        self
    }

    /// Adds text in an element.
    pub fn element(&mut self, open: &'static str, text: &str, close: &'static str) -> &mut Self {
        self.markup(open).text(text).markup(close)
    }
}

/// Refuses a place where no page can be written, before the work is done.
pub fn check_target(path: &Path) -> Result<()> {
    let parent = parent_of(path);
    if path.is_dir() || path.file_name().is_none() {
        return Err(Error::usage(format!("'{}' is no file to write a page to", path.display()))
            .hint("name a file, in a directory that exists"));
    }
    if !parent.is_dir() {
        return Err(Error::usage(format!("there is no directory '{}' to write a page to", parent.display()))
            .hint("make it first"));
    }
    Ok(())
}

/// Writes a page, which replaces an earlier one when it is complete.
pub fn write(path: &Path, page: &Html) -> Result<()> {
    aside::write(path, page.0.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_never_markup() {
        let mut html = Html::default();
        html.element("<b>", "</b><script>alert('x')</script>\u{1b}&amp;\"", "</b>");
        assert_eq!(
            html.0,
            "<b>&lt;/b&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;\u{fffd}&amp;amp;&quot;</b>"
        );
    }

    #[test]
    fn a_page_needs_a_place() {
        let dir = tempfile::tempdir().unwrap();
        for wrong in ["", "no/such/file.html"] {
            assert!(check_target(&dir.path().join(wrong)).is_err(), "{wrong}");
        }
        let path = dir.path().join("page.html");
        check_target(&path).unwrap();
        write(&path, &Html("1".into())).unwrap();
        write(&path, &Html("2".into())).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "2");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
