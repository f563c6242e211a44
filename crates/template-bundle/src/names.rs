// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Names, versions and components
//!
//! They become OCI tags, file names and command-line arguments, so they are as narrow as the narrowest of these.

use crate::error::{Error, Result};

/// What an OCI tag may be at most, less the suffix of the runnable image.
const MAX_LEN: usize = 100;

/// The suffix of the tag of the runnable image.
pub const ROOTFS_TAG_SUFFIX: &str = "-rootfs";

fn check(what: &str, text: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+');
    let first = text.chars().next();
    if text.len() > MAX_LEN || !first.is_some_and(|c| c.is_ascii_alphanumeric()) || !text.chars().all(allowed)
    {
        return Err(Error::usage(format!("'{}' is not a {what}", text.escape_debug())).hint(format!(
            "use letters, digits, '.', '_' and '-', beginning with a letter or digit, at most {MAX_LEN} characters"
        )));
    }
    Ok(())
}

/// Checks the name of a template.
pub fn check_name(name: &str) -> Result<()> {
    check("template name", name)
}

/// Checks the version of a template. It is an OCI tag, so `+` is not allowed.
pub fn check_version(version: &str) -> Result<()> {
    check("template version", version)?;
    if version.contains('+') {
        return Err(Error::usage(format!("'{version}' is not a template version"))
            .hint("the version becomes an OCI tag, which cannot hold '+'; '_' or '.' can stand in"));
    }
    if version.ends_with(ROOTFS_TAG_SUFFIX) {
        return Err(Error::usage(format!("template version '{version}' ends in '{ROOTFS_TAG_SUFFIX}'"))
            .hint("this suffix names the runnable image of a version"));
    }
    Ok(())
}

/// Checks the name of a component.
pub fn check_component(name: &str) -> Result<()> {
    check("component name", name)
}

/// Splits `NAME[:VERSION]`.
pub fn parse_reference(text: &str) -> Result<(&str, Option<&str>)> {
    let (name, version) = match text.split_once(':') {
        Some((name, version)) => (name, Some(version)),
        None => (text, None),
    };
    check_name(name)?;
    if let Some(version) = version {
        check_version(version)?;
    }
    Ok((name, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_narrow() {
        for good in ["platform", "a", "base-platform_1.2", "1.0~rc1".replace('~', "-").as_str()] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "-x", "a/b", "a b", "a:b", "ä", &"x".repeat(101)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        assert!(check_version("1.0-rootfs").is_err());
        assert!(check_version("1.0+dirty").is_err());
        assert_eq!(parse_reference("p:1").unwrap(), ("p", Some("1")));
        assert!(parse_reference("p:").is_err());
    }
}
