// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # How a registry wants to be told who one is

/// What it asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Challenge {
    /// User and password with each request.
    Basic,
    /// A token of this server.
    Bearer {
        /// Its address.
        realm: String,
        /// For whom.
        service: Option<String>,
    },
}

impl Challenge {
    /// Of a WWW-Authenticate header. Schemes that nobody uses with registries mean nothing.
    pub fn parse(header: &str) -> Option<Self> {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let mut realm = None;
        let mut service = None;
        for (name, value) in parameters(rest) {
            match name.to_ascii_lowercase().as_str() {
                "realm" => realm = Some(value),
                "service" => service = Some(value),
                _ => {}
            }
        }
        Some(Self::Bearer { realm: realm?, service })
    }
}

/// `name="value", name=value`
fn parameters(mut text: &str) -> Vec<(String, String)> {
    let mut out = Vec::new();
    while let Some((name, rest)) = text.split_once('=') {
        let (value, rest) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => (rest.split(',').next().unwrap_or_default(), rest.find(',').map_or("", |at| &rest[at..])),
        };
        out.push((name.trim_matches([' ', ',']).to_owned(), value.trim().to_owned()));
        text = rest;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_understood() {
        let bearer = |realm: &str, service: Option<&str>| {
            Some(Challenge::Bearer { realm: realm.into(), service: service.map(Into::into) })
        };
        for (header, expected) in [
            ("Basic realm=\"Registry\"", Some(Challenge::Basic)),
            ("basic", Some(Challenge::Basic)),
            (
                "Bearer realm=\"https://auth/token\",service=\"registry\",scope=\"repository:a:pull,push\"",
                bearer("https://auth/token", Some("registry")),
            ),
            (
                "bearer service=registry, Realm=https://auth/token",
                bearer("https://auth/token", Some("registry")),
            ),
            ("Bearer realm=\"https://auth", bearer("https://auth", None)),
            ("Bearer service=\"x\"", None),
            ("Negotiate", None),
            ("", None),
        ] {
            assert_eq!(Challenge::parse(header), expected, "{header}");
        }
    }
}
