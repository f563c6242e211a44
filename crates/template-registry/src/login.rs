// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Who one is to a registry
//!
//! What `podman login`, `skopeo login` and `docker login` have written, in the order in which podman looks for it
//! (containers-auth.json(5)), and what credential helpers keep.

use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use template_bundle::error::IoContext;
use template_bundle::{Error, Kind, Result};

/// The largest file of logins, bytes.
const MAX_FILE: u64 = 1 << 20;

/// A login. Its secrets are shown nowhere.
#[derive(Clone, PartialEq)]
pub enum Login {
    /// A user with a password.
    Password {
        /// Its name.
        user: String,
        /// What nobody else knows.
        password: String,
    },
    /// What a registry has given for a password.
    Token(String),
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a login")
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct File {
    auths: BTreeMap<String, Entry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "lowercase")]
struct Entry {
    auth: String,
    identitytoken: String,
}

/// The login for a repository, if there is one.
pub fn find(host: &str, repository: &str) -> Result<Option<Login>> {
    let given = env::var_os("REGISTRY_AUTH_FILE").filter(|path| !path.is_empty()).map(PathBuf::from);
    let paths = match given {
        Some(path) if !path.exists() => {
            return Err(Error::usage(format!("REGISTRY_AUTH_FILE: '{}' does not exist", path.display()))
                .hint("log in with 'podman login', which writes it, or unset the variable"));
        }
        Some(path) => vec![path],
        None => usual_places(),
    };
    for path in paths.iter().filter(|path| path.exists()) {
        if let Some(login) = find_in(path, host, repository)? {
            log::debug!("login for {host}/{repository} from {}", path.display());
            return Ok(Some(login));
        }
    }
    Ok(None)
}

fn usual_places() -> Vec<PathBuf> {
    let dir = |name: &str| env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    let home = || dir("HOME");
    let run = match dir("XDG_RUNTIME_DIR") {
        Some(dir) => dir.join("containers"),
        None => PathBuf::from(format!("/run/containers/{}", nix::unistd::getuid())),
    };
    let config = dir("XDG_CONFIG_HOME").or_else(|| Some(home()?.join(".config")));
    let docker = dir("DOCKER_CONFIG").or_else(|| Some(home()?.join(".docker")));
    [
        Some(run.join("auth.json")),
        config.map(|dir| dir.join("containers/auth.json")),
        docker.map(|dir| dir.join("config.json")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn find_in(path: &Path, host: &str, repository: &str) -> Result<Option<Login>> {
    let size = std::fs::metadata(path).doing("reading logins", path)?.len();
    if size > MAX_FILE {
        return Err(Error::usage(format!("'{}' is larger than {MAX_FILE} bytes", path.display()))
            .hint("it is another file than one of logins: name the right one in REGISTRY_AUTH_FILE"));
    }
    let bytes = std::fs::read(path).doing("reading logins", path)?;
    // what serde says could show a secret
    let file: File = serde_json::from_slice(&bytes).map_err(|e| {
        Error::usage(format!("'{}' is no file of logins (line {})", path.display(), e.line()))
            .hint("log in again with 'podman login', which writes it anew")
    })?;
    if let Some(helper) = file.cred_helpers.get(host) {
        return ask_helper(helper, host);
    }
    for key in keys(host, repository) {
        let entry = file.auths.iter().find(|(name, _)| trim(name) == key).map(|(_, entry)| entry);
        if let Some(login) = entry.map(|entry| read(entry, path)).transpose()?.flatten() {
            return Ok(Some(login));
        }
    }
    match &file.creds_store {
        Some(helper) => ask_helper(helper, host),
        None => Ok(None),
    }
}

/// The most special first: `host/team/platform`, `host/team`, `host`.
fn keys(host: &str, repository: &str) -> Vec<String> {
    let mut out = vec![format!("{host}/{repository}")];
    while let Some((shorter, _)) = out.last().and_then(|last| last.rsplit_once('/')) {
        out.push(shorter.to_owned());
    }
    out
}

/// docker writes addresses.
fn trim(key: &str) -> &str {
    let key = key.strip_prefix("https://").or(key.strip_prefix("http://")).unwrap_or(key);
    let key = key.strip_suffix('/').unwrap_or(key);
    key.strip_suffix("/v1").or(key.strip_suffix("/v2")).unwrap_or(key)
}

fn read(entry: &Entry, path: &Path) -> Result<Option<Login>> {
    if !entry.identitytoken.is_empty() {
        return Ok(Some(Login::Token(entry.identitytoken.clone())));
    }
    if entry.auth.is_empty() {
        return Ok(None);
    }
    let text = STANDARD.decode(entry.auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    match text.as_deref().and_then(|text| text.split_once(':')) {
        Some((user, password)) => Ok(Some(Login::Password {
            user: user.to_owned(),
            password: password.trim_end_matches('\0').to_owned(),
        })),
        None => Err(Error::usage(format!("'{}' has a login that is none", path.display()))
            .hint("log in again with 'podman login'")),
    }
}

/// Asks a program of the user, as docker and podman do.
fn ask_helper(helper: &str, host: &str) -> Result<Option<Login>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: String,
        secret: String,
    }
    let program = format!("docker-credential-{helper}");
    if helper.contains('/') {
        return Err(Error::usage(format!("credential helper '{}' is a path", helper.escape_debug()))
            .hint("write what follows docker-credential- in the name of the program"));
    }
    let failed = |why: &dyn fmt::Display| {
        Error::new(Kind::ToolMissing, format!("asking {program} for the login of {host}: {why}"))
            .hint("see that it works: the files of logins name it")
    };
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| failed(&e))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(host.as_bytes()).map_err(|e| failed(&e))?;
    }
    let output = child.wait_with_output().map_err(|e| failed(&e))?;
    if !output.status.success() {
        // they say so on standard output
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        return match text.contains("credentials not found") {
            true => Ok(None),
            false => Err(failed(&text.trim())),
        };
    }
    let answer: Answer =
        serde_json::from_slice(&output.stdout).map_err(|_| failed(&"its answer is no login"))?;
    Ok(Some(match answer.username.as_str() {
        "<token>" => Login::Token(answer.secret),
        _ => Login::Password { user: answer.username, password: answer.secret },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str, host: &str, repository: &str) -> Result<Option<Login>> {
        let dir = std::env::temp_dir().join(format!(
            "login-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::write(&dir, text).unwrap();
        let found = find_in(&dir, host, repository);
        std::fs::remove_file(&dir).unwrap();
        found
    }

    fn user(login: Result<Option<Login>>) -> Option<String> {
        match login.unwrap()? {
            Login::Password { user, password } => Some(format!("{user}/{password}")),
            Login::Token(token) => Some(token),
        }
    }

    #[test]
    fn the_most_special_login_counts() {
        let of = |text: &str| STANDARD.encode(text);
        let text = format!(
            r#"{{"auths": {{"host": {{"auth": "{}"}}, "host/team": {{"auth": "{}"}}, "https://other:5000/v2/": {{"identitytoken": "t"}}, "none": {{}}}}}}"#,
            of("all:p:q"),
            of("team:x")
        );
        assert_eq!(user(find(&text, "host", "team/platform")).as_deref(), Some("team/x"));
        assert_eq!(user(find(&text, "host", "a")).as_deref(), Some("all/p:q"));
        assert_eq!(user(find(&text, "other:5000", "a")).as_deref(), Some("t"));
        assert_eq!(user(find(&text, "none", "a")), None);
        assert_eq!(user(find(&text, "elsewhere", "a")), None);
        assert_eq!(user(find("{}", "host", "a")), None);
    }

    #[test]
    fn what_is_no_login_is_told_without_its_secret() {
        for text in [r#"{"auths": {"host": {"auth": "c2VjcmV0"}}}"#, r#"{"auths": "c2VjcmV0"}"#, "c2VjcmV0"] {
            let error = find(text, "host", "a").unwrap_err();
            assert!(
                !error.message.contains("c2VjcmV0") && !error.message.contains("secret"),
                "{}",
                error.message
            );
            assert_eq!(error.kind.exit_code(), 2);
        }
    }
}
