// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What this machine knows of reaching repositories
//!
//! Proxies, certificates, passwords and patience are matters of the place where packages are fetched, not of the
//! template. They are taken from the caller's environment and from the apt configuration of the host, and are seen by
//! the sandbox that fetches and by no other: not by package scripts, and nothing of it stays in the product.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use super::transaction::Transaction;
use crate::error::{ChrootError, Result};
use crate::sandbox::OWN_DIR;

/// Where distributions keep the certificates that a machine trusts.
const BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem"];

/// Of the tree.
const BUNDLE_INSIDE: &str = BUNDLES[0];

/// Long enough for a slow mirror, short enough for somebody who waits; seconds without a byte, and attempts after the
/// first.
const PATIENCE: [(&str, &str); 4] = [
    ("Acquire::http::Timeout", "30"),
    ("Acquire::https::Timeout", "30"),
    ("Acquire::ftp::Timeout", "30"),
    ("Acquire::Retries", "2"),
];

/// The settings of the host that are of use here.
const WANTED: [&str; 7] = [
    "acquire::http::proxy",
    "acquire::https::proxy",
    "acquire::http::timeout",
    "acquire::https::timeout",
    "acquire::ftp::timeout",
    "acquire::retries",
    "acquire::https::cainfo",
];

/// The directory in the sandbox, and in the scratch directory.
pub(super) const NAME: &str = "access";

/// How repositories are reached from here.
#[derive(Default)]
pub(super) struct Access {
    /// Settings that hold whatever the tree says.
    settings: String,
    /// Settings that hold unless the tree says otherwise.
    pub defaults: String,
    /// For the environment: apt reads names in lower case only.
    pub proxies: Vec<(String, String)>,
    certificates: Option<Vec<u8>>,
    passwords: String,
}

impl Access {
    /// Of the caller and the host, for these hosts of the tree's sources.
    fn of_host(hosts: &[String], https: bool) -> Result<Self> {
        let dump = apt_config(&["dump"]);
        let host = parse_settings(&dump);
        let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let proxies = ["http_proxy", "https_proxy", "no_proxy"]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), env(name).or_else(|| env(&name.to_uppercase()))?)))
            .collect();
        let mut access = Self { settings: settings(&host, &env), proxies, ..Self::default() };
        let own = |name: &str| format!("{OWN_DIR}/{}/{name}", NAME);
        if https {
            let line = format!("Acquire::https::CaInfo \"{}\";\n", own("certificates.pem"));
            let named = host.iter().find(|(name, _)| name.eq_ignore_ascii_case("acquire::https::cainfo"));
            let named = env("SSL_CERT_FILE").or_else(|| named.map(|(_, path)| path.clone()));
            if let Some(path) = named {
                let content =
                    fs::read(&path).map_err(|e| ChrootError::io("reading certificates", &path, e))?;
                access.certificates = Some(content);
                access.settings.push_str(&line);
            } else if let Some(content) = BUNDLES.iter().find_map(|path| fs::read(path).ok()) {
                access.certificates = Some(content);
                access.defaults.push_str(&line);
            }
        }
        access.passwords = read_passwords(hosts)?;
        if !access.passwords.is_empty() {
            access.settings.push_str(&format!("Dir::Etc::netrc \"{}\";\n", own("auth.conf")));
        }
        Ok(access)
    }
}

impl Transaction<'_> {
    /// Makes ready what it takes to fetch.
    pub(super) fn prepare_access(&mut self) -> Result<()> {
        if self.access.is_some() {
            return Ok(());
        }
        let uris: Vec<String> = self.sources.remote_suites().into_iter().map(|suite| suite.uri).collect();
        let https = uris.iter().any(|uri| uri.starts_with("https:"));
        let hosts: Vec<String> = uris.iter().map(|uri| host_of(uri).to_owned()).collect();
        let mut access = Access::of_host(&hosts, https)?;
        if let Some(certificates) = access.certificates.as_mut().filter(|_| !access.defaults.is_empty()) {
            // what the template trusts it trusts still
            certificates.push(b'\n');
            let own = format!("cat {BUNDLE_INSIDE} 2>/dev/null");
            certificates.extend(self.sandbox(false).capture(&["sh", "-c", &own])?.stdout);
        }
        let dir = self.access_dir();
        let write = |name: &str, content: &[u8], mode: u32| {
            let path = dir.join(name);
            // never open to others, not even for a moment
            let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&path);
            file.and_then(|mut file| {
                file.set_permissions(fs::Permissions::from_mode(mode))?;
                file.write_all(content)
            })
            .map_err(|e| ChrootError::io("writing", &path, e))
        };
        fs::create_dir_all(&dir)
            .and_then(|()| fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)))
            .map_err(|e| ChrootError::io("making directory", &dir, e))?;
        // addresses of proxies hold passwords; apt reads these two before it becomes its own user
        write("apt.conf", access.settings.as_bytes(), 0o600)?;
        write("auth.conf", access.passwords.as_bytes(), 0o600)?;
        if let Some(certificates) = &access.certificates {
            write("certificates.pem", certificates, 0o644)?;
        }
        self.access = Some(access);
        Ok(())
    }
}

/// What apt-config of the host says; nothing where there is none.
fn apt_config(arguments: &[&str]) -> String {
    let output = Command::new("apt-config").args(arguments).stdin(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        _ => String::new(),
    }
}

/// The wanted ones of `apt-config dump`: names and values.
fn parse_settings(dump: &str) -> Vec<(String, String)> {
    let wanted = |name: &str| {
        let name = name.to_ascii_lowercase();
        // also of one host: Acquire::http::Proxy::HOST
        WANTED
            .iter()
            .any(|w| name.strip_prefix(w).is_some_and(|rest| rest.is_empty() || rest.starts_with("::")))
    };
    dump.lines()
        .filter_map(|line| {
            let (name, value) = line.strip_suffix("\";")?.split_once(" \"")?;
            let plain = !value.is_empty() && !value.contains(['"', '\\']) && !name.contains(['"', ';', ' ']);
            (plain && wanted(name)).then(|| (name.to_owned(), value.to_owned()))
        })
        .collect()
}

/// The configuration of apt that comes of it. The environment goes before the host's apt.conf: who calls has chosen.
fn settings(host: &[(String, String)], env: &dyn Fn(&str) -> Option<String>) -> String {
    let has = |scheme: &str| {
        let name = format!("{scheme}_proxy");
        env(&name).or_else(|| env(&name.to_uppercase())).is_some()
    };
    let proxied = has("http") || has("https");
    let is_proxy = |name: &str| name.to_ascii_lowercase().split("::").nth(2) == Some("proxy");
    let mut out = String::new();
    if proxied || host.iter().any(|(name, _)| is_proxy(name)) {
        // the template was made in another place
        for scheme in ["http", "https"] {
            for name in ["Proxy", "Proxy-Auto-Detect", "ProxyAutoDetect"] {
                out.push_str(&format!("#clear Acquire::{scheme}::{name};\n"));
            }
        }
    }
    for (name, value) in PATIENCE {
        if !host.iter().any(|(n, _)| n.eq_ignore_ascii_case(name)) {
            out.push_str(&format!("{name} \"{value}\";\n"));
        }
    }
    for (name, value) in host {
        let certificates = name.eq_ignore_ascii_case("acquire::https::cainfo");
        if certificates || (proxied && is_proxy(name)) {
            continue;
        }
        out.push_str(&format!("{name} \"{value}\";\n"));
    }
    out
}

/// What the host's auth.conf says of these hosts.
fn read_passwords(hosts: &[String]) -> Result<String> {
    let paths = apt_config(&["shell", "FILE", "Dir::Etc::netrc/f", "PARTS", "Dir::Etc::netrcparts/d"]);
    let path = |name: &str, default: &str| {
        let line = paths.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.map_or(default.to_owned(), |path| path.trim_matches('\'').to_owned())
    };
    let mut files = vec![path("FILE", "/etc/apt/auth.conf")];
    if let Ok(parts) = fs::read_dir(path("PARTS", "/etc/apt/auth.conf.d")) {
        let parts = parts.flatten().map(|part| part.path().display().to_string());
        let mut parts: Vec<String> = parts.filter(|path| path.ends_with(".conf")).collect();
        parts.sort();
        files.extend(parts);
    }
    let mut out = String::new();
    for file in files {
        match fs::read_to_string(Path::new(&file)) {
            Ok(text) => out.push_str(&entries_for(&text, hosts)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(ChrootError::io("reading passwords", &file, e)),
        }
    }
    Ok(out)
}

/// The entries of a netrc file that are of one of these hosts.
fn entries_for(text: &str, hosts: &[String]) -> String {
    let mut out = String::new();
    let mut wanted = false;
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let mut words = lines.flat_map(str::split_whitespace);
    while let Some(word) = words.next() {
        if word == "machine" {
            let Some(machine) = words.next() else { break };
            wanted = hosts.iter().any(|host| host == host_of(machine));
            if wanted {
                out.push_str(&format!("\nmachine {machine}"));
            }
        } else if wanted {
            out.push_str(&format!(" {word}"));
        }
    }
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

/// The host of an address, with or without a scheme, user, port or path.
fn host_of(uri: &str) -> &str {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    match host.strip_prefix('[').and_then(|h| h.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = "APT \"\";\nAcquire::http \"\";\nAcquire::http::Proxy \"http://u:p@proxy:3128/\";\n\
        Acquire::http::Proxy::mirror.example \"DIRECT\";\nAcquire::http::Proxy-Auto-Detect \"/bin/x\";\n\
        Acquire::Retries \"7\";\nAcquire::https::CaInfo \"/etc/ca.pem\";\nDPkg::Post-Invoke:: \"rm -rf /\";\n\
        Acquire::https::Timeout \"a\\\"b\";\n";

    fn none(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn settings_of_the_host_are_chosen() {
        let host = parse_settings(DUMP);
        let names: Vec<&str> = host.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "Acquire::http::Proxy",
                "Acquire::http::Proxy::mirror.example",
                "Acquire::Retries",
                "Acquire::https::CaInfo"
            ]
        );
        let text = settings(&host, &none);
        assert!(text.contains("#clear Acquire::http::Proxy;\n"), "{text}");
        assert!(text.contains("Acquire::http::Proxy \"http://u:p@proxy:3128/\";\n"), "{text}");
        assert!(
            text.contains("Acquire::Retries \"7\";\n") && !text.contains("Acquire::Retries \"2\""),
            "{text}"
        );
        assert!(text.contains("Acquire::http::Timeout \"30\";\n") && !text.contains("CaInfo"), "{text}");
    }

    #[test]
    fn the_environment_goes_before_the_host() {
        let env = |name: &str| (name == "HTTP_PROXY").then(|| "http://other/".to_owned());
        let text = settings(&parse_settings(DUMP), &env);
        // apt has it from the environment
        assert!(text.contains("#clear Acquire::http::Proxy;\n") && !text.contains("Proxy \""), "{text}");
        let text = settings(&[], &none);
        assert!(!text.contains("#clear"), "a proxy of the template stays: {text}");
    }

    #[test]
    fn passwords_are_of_the_hosts_in_use() {
        let text = "# comment\nmachine a.example login me password x\nmachine https://b.example:8443/debian\n\
            login you\npassword y\n machine c.example login z password z\n";
        assert_eq!(
            entries_for(text, &["b.example".into()]),
            "\nmachine https://b.example:8443/debian login you password y\n"
        );
        assert_eq!(entries_for(text, &["d.example".into()]), "");
        assert_eq!(entries_for("machine", &[]), "");
    }

    #[test]
    fn hosts_are_found() {
        let table = [
            ("http://u:p@h.example:80/debian", "h.example"),
            ("h.example/debian", "h.example"),
            ("h.example", "h.example"),
            ("https://[::1]:8/x", "::1"),
        ];
        for (uri, expected) in table {
            assert_eq!(host_of(uri), expected);
        }
    }
}
