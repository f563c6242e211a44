// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What `oci://` means
//!
//! `oci://HOST[:PORT]/REPOSITORY[:TAG][@sha256:DIGEST]`, as the OCI distribution specification spells its parts.

use std::fmt;
use std::str::FromStr;

use template_bundle::{Digest, Error, Result};

/// The scheme.
const SCHEME: &str = "oci://";
/// How it is written.
const FORM: &str = "write oci://HOST[:PORT]/REPOSITORY[:TAG][@sha256:DIGEST], with a repository in lower case, as oci://registry.example.com/team/platform:1.0";
/// As in the specification.
const MAX_TAG: usize = 128;
/// Of host and repository together, as in the specification.
const MAX_NAME: usize = 255;

/// A place in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Name or address, and port.
    pub host: String,
    /// The repository.
    pub repository: String,
    /// What is tagged.
    pub tag: Option<String>,
    /// Of the image index.
    pub digest: Option<Digest>,
}

impl Reference {
    /// Whether an argument means something in a registry.
    pub fn is_one(argument: &str) -> bool {
        argument.starts_with(SCHEME)
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: &str| Error::usage(format!("'{}': {why}", text.escape_debug())).hint(FORM);
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| wrong("it does not begin with oci://"))?;
        let (host, path) = rest.split_once('/').ok_or_else(|| wrong("it has no repository"))?;
        if host.contains('@') {
            // not shown, as it may hold a password
            return Err(Error::usage("users and passwords do not belong into an oci:// reference")
                .hint("log in with 'podman login', 'skopeo login' or 'docker login': their files are read"));
        }
        let (path, digest) = match path.split_once('@') {
            Some((path, digest)) => {
                let digest = digest.parse().map_err(|_| wrong("what follows the @ is no sha256 digest"))?;
                (path, Some(digest))
            }
            None => (path, None),
        };
        let (repository, tag) = match path.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (path, None),
        };
        if !is_host(host) {
            return Err(wrong("its host is no name or address with a port"));
        }
        if !is_repository(repository) || host.len() + repository.len() >= MAX_NAME {
            return Err(wrong("its repository is no name of one"));
        }
        if !tag.is_none_or(is_tag) {
            return Err(wrong("its tag is none"));
        }
        Ok(Self { host: host.into(), repository: repository.into(), tag: tag.map(Into::into), digest })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

pub(crate) fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            (None, rest.strip_prefix(':').or((!rest.is_empty()).then_some("none")))
        }
        None => match host.split_once(':') {
            Some((name, port)) => (Some(name), Some(port)),
            None => (Some(host), None),
        },
    };
    let good = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
            && !name.starts_with(['-', '.'])
    };
    name.is_none_or(good) && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

fn is_repository(repository: &str) -> bool {
    let part = |part: &str| {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let edge = |b: Option<u8>| b.is_some_and(inner);
        edge(part.bytes().next())
            && edge(part.bytes().last())
            && part.bytes().all(|b| inner(b) || b"._-".contains(&b))
    };
    repository.split('/').all(part)
}

fn is_tag(tag: &str) -> bool {
    let first = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.bytes().next().is_some_and(first)
        && tag.len() <= MAX_TAG
        && tag.bytes().all(|b| first(b) || b".-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_and_written() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for text in [
            "oci://registry/a",
            "oci://registry:5000/team/platform:1.0",
            "oci://127.0.0.1:5000/a/b-c/d__e:v_1.0-rc",
            "oci://[::1]:5000/a:x",
            &format!("oci://registry/a:1@{digest}"),
            &format!("oci://registry/a@{digest}"),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.to_string(), text);
        }
        let one: Reference = "oci://host:1/a/b:t".parse().unwrap();
        assert_eq!((&one.host[..], &one.repository[..], one.tag.as_deref()), ("host:1", "a/b", Some("t")));
    }

    #[test]
    fn others_are_refused() {
        for text in [
            "oci:dir",
            "oci://host",
            "oci://host/",
            "oci:///a",
            "oci://host/A",
            "oci://host/a:",
            "oci://host/a:b:c",
            "oci://host/a/../b",
            "oci://host/a//b",
            "oci://host:0/a",
            "oci://host:x/a",
            "oci://[::1/a",
            "oci://host/a@sha256:12",
            "oci://host/a?b",
            "oci://ho st/a",
            "oci://host/a:-b",
        ] {
            let error = text.parse::<Reference>().unwrap_err();
            assert_eq!(error.kind.exit_code(), 2, "{text}");
            assert!(error.hint.unwrap().contains("REPOSITORY"), "{text}");
        }
        let error = "oci://me:secret@host/a".parse::<Reference>().unwrap_err();
        assert!(!error.message.contains("secret") && error.hint.unwrap().contains("login"));
    }
}
