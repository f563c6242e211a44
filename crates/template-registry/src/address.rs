// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What `https://` means
//!
//! A bundle on a web server: `https://HOST[:PORT]/PATH.tar`, or the directory of an OCI image layout. What follows a question
//! mark goes with the request for a tar: servers of objects have proofs there.

use std::fmt;
use std::str::FromStr;

use template_bundle::{Error, Result};

use crate::reference::is_host;

const FORM: &str = "write https://HOST[:PORT]/PATH.tar, or https://HOST[:PORT]/DIRECTORY with oci-layout, index.json and blobs/ in it";

/// An address on a web server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Without TLS.
    pub(crate) plain: bool,
    pub(crate) host: String,
    /// With a slash in front and none at its end.
    pub(crate) path: String,
    /// With its question mark.
    query: String,
}

impl Address {
    /// Whether an argument means one.
    pub(crate) fn is_one(argument: &str) -> bool {
        ["https://", "http://"].iter().any(|scheme| argument.starts_with(scheme))
    }

    pub(crate) fn is_tar(&self) -> bool {
        self.path.ends_with(".tar")
    }

    /// What is asked for, of a tar.
    pub(crate) fn target(&self) -> String {
        format!("{}{}", self.path, self.query)
    }

    /// What is asked for, of something in a directory.
    pub(crate) fn below(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    /// The last part of the path.
    pub(crate) fn file_name(&self) -> Option<String> {
        let name = self.path.rsplit('/').next().filter(|name| !name.is_empty() && !name.contains('%'))?;
        Some(name.strip_suffix(".tar").unwrap_or(name).to_owned()).filter(|name| !name.is_empty())
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: &str| Error::usage(format!("'{}': {why}", shown(text))).hint(FORM);
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("it has no scheme"))?;
        let (host, path) = rest.split_once('/').ok_or_else(|| wrong("it has no path"))?;
        if host.contains('@') {
            // not shown, as it may hold a password
            return Err(Error::usage("users and passwords do not belong into the address of a bundle").hint(
                "put them into auth.json, where logins of registries are (REGISTRY_AUTH_FILE names another)",
            ));
        }
        if !is_host(host) {
            return Err(wrong("its host is no name or address with a port"));
        }
        if !rest.bytes().all(|b| b.is_ascii_graphic() && !b"\"<>\\^`{|}#".contains(&b)) {
            return Err(wrong("it has characters that have to be written as %XX"));
        }
        let (path, query) = match path.split_once('?') {
            Some((path, query)) => (path, format!("?{query}")),
            None => (path, String::new()),
        };
        let path = path.trim_matches('/');
        let address = Self {
            plain: scheme == "http",
            host: host.to_owned(),
            path: if path.is_empty() { String::new() } else { format!("/{path}") },
            query,
        };
        if !address.query.is_empty() && !address.is_tar() {
            return Err(wrong("what follows the ? is for a tar, and its path does not end with .tar"));
        }
        Ok(address)
    }
}

/// Without what may be a proof of who one is.
fn shown(text: &str) -> String {
    text.split_once('?').map_or(text, |(address, _)| address).escape_debug().to_string()
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", if self.plain { "http" } else { "https" }, self.host, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let of = |text: &str| text.parse::<Address>().unwrap();
        let tar = of("https://host:8443/a/platform-1.0.tar?sig=x%20y");
        assert_eq!(
            (&tar.host[..], &tar.target()[..], tar.is_tar(), tar.plain),
            ("host:8443", "/a/platform-1.0.tar?sig=x%20y", true, false)
        );
        assert_eq!(tar.to_string(), "https://host:8443/a/platform-1.0.tar");
        assert_eq!(tar.file_name().as_deref(), Some("platform-1.0"));
        let directory = of("http://host/a/b/");
        assert_eq!((&directory.below("index.json")[..], directory.plain), ("/a/b/index.json", true));
        assert_eq!(of("https://host/").below("index.json"), "/index.json");
        assert_eq!(of("https://host/").file_name(), None);
    }

    #[test]
    fn others_are_refused() {
        for text in [
            "https://host",
            "https:///a",
            "https://ho st/a",
            "https://host/a b",
            "https://host/a#b",
            "https://host/a?b",
            "https://host:x/a",
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert_eq!(error.kind.exit_code(), 2, "{text}");
            assert!(error.hint.unwrap().contains("https://HOST"), "{text}");
        }
        let error = "https://me:secret@host/a.tar".parse::<Address>().unwrap_err();
        assert!(!error.message.contains("secret"));
        let error = "https://ho st/a.tar?secret".parse::<Address>().unwrap_err();
        assert!(!error.message.contains("secret"));
    }
}
