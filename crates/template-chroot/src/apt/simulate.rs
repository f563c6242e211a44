// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What apt says
//!
//! Parsers for the simulation, the list of URIs, the status channel, and errors. Text in, data out.

/// A line of `apt-get --simulate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub package: String,
    /// Where apt names one.
    pub architecture: Option<String>,
    pub old: Option<String>,
    /// None: it is removed.
    pub new: Option<String>,
    /// Where the new version is from, in apt's words.
    pub origin: String,
}

/// Takes the changes out of the output of `apt-get --simulate`.
pub(crate) fn parse_simulation(output: &str) -> Vec<Change> {
    output.lines().filter_map(parse_change).collect()
}

fn parse_change(line: &str) -> Option<Change> {
    let (verb, rest) = line.split_once(' ')?;
    let removed = match verb {
        "Inst" => false,
        "Remv" | "Purg" => true,
        _ => return None,
    };
    let (name, mut rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let (package, mut architecture) = match name.split_once(':') {
        Some((name, architecture)) => (name.to_owned(), Some(architecture.to_owned())),
        None => (name.to_owned(), None),
    };
    let mut old = None;
    if let Some((version, after)) = rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
        old = Some(version.to_owned());
        rest = after.trim_start();
    }
    if removed {
        return Some(Change { package, architecture, old, new: None, origin: String::new() });
    }
    // (VERSION ORIGIN, ORIGIN [ARCHITECTURE])
    let inner = rest.strip_prefix('(')?.split(')').next()?;
    let (inner, in_brackets) = match inner.rsplit_once('[') {
        Some((before, after)) => (before.trim_end(), Some(after.trim_end_matches(']').to_owned())),
        None => (inner, None),
    };
    architecture = in_brackets.or(architecture);
    let (version, origin) = inner.split_once(' ').unwrap_or((inner, ""));
    Some(Change {
        package,
        architecture,
        old,
        new: Some(version.to_owned()),
        origin: origin.trim().to_owned(),
    })
}

/// A line of `apt-get --print-uris`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Uri {
    pub uri: String,
    /// The name in the archive cache: `NAME_VERSION_ARCHITECTURE.deb`, ':' as %3a.
    pub file: String,
    pub size: u64,
    /// Where apt tells it.
    pub sha256: Option<String>,
}

impl Uri {
    /// Whether it takes a network to get it.
    pub fn remote(&self) -> bool {
        !["file:", "copy:", "cdrom:"].iter().any(|local| self.uri.starts_with(local))
    }

    /// The path of a local one, inside.
    pub fn path(&self) -> Option<String> {
        let path = self.uri.strip_prefix("file:")?;
        Some(format!("/{}", unquoted(path).trim_start_matches('/')))
    }

    /// Name and version.
    pub fn package(&self) -> Option<(String, String)> {
        let mut parts = self.file.strip_suffix(".deb")?.split('_');
        Some((parts.next()?.to_owned(), parts.next()?.replace("%3a", ":")))
    }
}

/// Without the quoting that apt gives to characters such as '+' and '~'.
fn unquoted(text: &str) -> String {
    let mut parts = text.split('%');
    let mut out: Vec<u8> = parts.next().unwrap_or_default().into();
    for part in parts {
        let quoted = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match quoted {
            Some(byte) => {
                out.push(byte);
                out.extend_from_slice(&part.as_bytes()[2..]);
            }
            None => {
                out.push(b'%');
                out.extend_from_slice(part.as_bytes());
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

pub(crate) fn parse_uris(output: &str) -> Vec<Uri> {
    output
        .lines()
        .filter_map(|line| {
            let (uri, rest) = line.strip_prefix('\'')?.split_once("' ")?;
            let mut rest = rest.split(' ');
            let file = rest.next()?.to_owned();
            let size = rest.next()?.parse().ok()?;
            let sha256 = rest.find_map(|hash| Some(hash.strip_prefix("SHA256:")?.to_ascii_lowercase()));
            Some(Uri { uri: uri.to_owned(), file, size, sha256 })
        })
        .collect()
}

/// A line of apt's status channel.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Progress {
    Fetching { percent: f32, what: String },
    Installing { percent: f32, what: String },
    Failed { package: String, message: String },
}

pub(crate) fn parse_progress(line: &str) -> Option<Progress> {
    let mut parts = line.splitn(4, ':');
    let (kind, package, percent, what) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let what = what.trim().to_owned();
    let percent: f32 = percent.trim().parse().ok()?;
    match kind {
        "dlstatus" => Some(Progress::Fetching { percent, what }),
        "pmstatus" => Some(Progress::Installing { percent, what }),
        "pmerror" => Some(Progress::Failed { package: package.trim().to_owned(), message: what }),
        _ => None,
    }
}

/// The packages that dpkg names as failed.
pub(crate) fn failed_packages(output: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for line in output.lines() {
        let name = line
            .strip_prefix("dpkg: error processing package ")
            .or_else(|| line.strip_prefix("dpkg: error processing archive "))
            .and_then(|rest| rest.split([' ', ':']).next());
        if let Some(name) = name {
            // an archive is named by its path
            let name = name.rsplit('/').next().unwrap_or(name).split('_').next().unwrap_or(name).to_owned();
            if !found.contains(&name) {
                found.push(name);
            }
        }
    }
    found
}

/// apt's reasons: its `E:` lines, and what it says of unmet dependencies.
pub(crate) fn reasons(stdout: &str, stderr: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut dependencies = stdout.lines().skip_while(|l| !l.starts_with("The following packages have unmet"));
    if dependencies.next().is_some() {
        for line in dependencies.take_while(|l| l.starts_with(' ')).map(str::trim) {
            match lines.last_mut().filter(|last| last.ends_with(" or")) {
                Some(last) => *last = format!("{last} {line}"),
                None => lines.push(line.to_owned()),
            }
        }
    }
    // these say nothing where something else is said
    let empty = |e: &str| {
        ["Error, pkgProblemResolver::Resolve", "Unable to correct problems", "The following information from"]
            .iter()
            .any(|words| e.starts_with(words))
    };
    let (vague, clear): (Vec<String>, Vec<String>) = stderr
        .lines()
        .filter_map(|l| l.strip_prefix("E: "))
        .map(|e| e.trim().to_owned())
        .partition(|e| empty(e));
    lines.extend(clear);
    if lines.is_empty() {
        lines = vague;
    }
    lines.dedup();
    lines.join("; ")
}

/// The names that apt says are no packages, each with those that provide it.
pub(crate) fn virtual_packages(stdout: &str) -> Vec<(String, Vec<String>)> {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    let mut open = false;
    for line in stdout.lines() {
        if let Some(name) =
            line.strip_prefix("Package ").and_then(|l| l.strip_suffix(" is a virtual package provided by:"))
        {
            found.push((name.to_owned(), Vec::new()));
            open = true;
        } else if let (true, Some(provider), Some((_, by))) =
            (open, line.strip_prefix("  "), found.last_mut())
        {
            let provider = provider.split(' ').next().unwrap_or(provider).to_owned();
            if !provider.is_empty() && !by.contains(&provider) {
                by.push(provider);
            }
        } else {
            open = false;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(
        package: &str,
        arch: Option<&str>,
        old: Option<&str>,
        new: Option<&str>,
        origin: &str,
    ) -> Change {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Change {
            package: package.into(),
            architecture: own(arch),
            old: own(old),
            new: own(new),
            origin: origin.into(),
        }
    }

    #[test]
    fn simulations_are_parsed() {
        let table = [
            (
                "Inst htop (3.2.2-2 Debian:12.15/oldstable [amd64])",
                Some(change("htop", Some("amd64"), None, Some("3.2.2-2"), "Debian:12.15/oldstable")),
            ),
            (
                "Inst libc6 [2.36-9] (2.36-9+deb12u1 Debian:12.5/stable, Debian-Security:12/stable-security [amd64]) [libc-bin:amd64 ]",
                Some(change(
                    "libc6",
                    Some("amd64"),
                    Some("2.36-9"),
                    Some("2.36-9+deb12u1"),
                    "Debian:12.5/stable, Debian-Security:12/stable-security",
                )),
            ),
            (
                "Inst my-tool (1.0 local-deb [all])",
                Some(change("my-tool", Some("all"), None, Some("1.0"), "local-deb")),
            ),
            (
                "Inst zlib1g:i386 (1:1.2.13.dfsg-1 Debian:12.15/oldstable [i386])",
                Some(change("zlib1g", Some("i386"), None, Some("1:1.2.13.dfsg-1"), "Debian:12.15/oldstable")),
            ),
            ("Inst flat (1.0 [all])", Some(change("flat", Some("all"), None, Some("1.0"), ""))),
            ("Remv vim-tiny [2:9.0.1378-2]", Some(change("vim-tiny", None, Some("2:9.0.1378-2"), None, ""))),
            (
                "Purg dbus [1.14.10-1~deb12u1] [systemd:amd64 ]",
                Some(change("dbus", None, Some("1.14.10-1~deb12u1"), None, "")),
            ),
            ("Purg half", Some(change("half", None, None, None, ""))),
            ("Conf htop (3.2.2-2 Debian:12.15/oldstable [amd64])", None),
            ("Inst broken", None),
            ("The following NEW packages will be installed:", None),
            ("", None),
        ];
        for (line, expected) in table {
            assert_eq!(parse_change(line), expected, "{line}");
        }
    }

    #[test]
    fn uris_are_parsed() {
        let uris = parse_uris(
            "Need to get 1 B of archives.\n\
             'file:/tmp/my-tool_1.0_all.deb' my-tool_1.0_all.deb 648 \n\
             'http://mirror.example/debian/pool/main/v/vim_9.0_amd64.deb' vim_2%3a9.0_amd64.deb 689556 MD5Sum:03ee\n",
        );
        assert_eq!(uris.len(), 2);
        assert!(!uris[0].remote() && uris[1].remote());
        assert_eq!(uris[1].size, 689_556);
        assert_eq!(uris[1].package(), Some(("vim".into(), "2:9.0".into())));
        let kernel = parse_uris("'file:/isar-apt/pool/k_6.1%2br0%7ex%25_all.deb' k_6.1+r0~x_all.deb 648 \n");
        assert_eq!(kernel[0].path().as_deref(), Some("/isar-apt/pool/k_6.1+r0~x%_all.deb"));
        assert_eq!(uris[1].path(), None);
    }

    #[test]
    fn progress_is_parsed() {
        assert_eq!(
            parse_progress("dlstatus:1:20.5:Retrieving file 1 of 2"),
            Some(Progress::Fetching { percent: 20.5, what: "Retrieving file 1 of 2".into() })
        );
        assert_eq!(
            parse_progress("pmstatus:htop:60:Configuring htop (amd64)"),
            Some(Progress::Installing { percent: 60.0, what: "Configuring htop (amd64)".into() })
        );
        assert_eq!(
            parse_progress(
                "pmerror:bad :50:installed bad package post-installation script subprocess returned error exit status 1"
            ),
            Some(Progress::Failed {
                package: "bad".into(),
                message:
                    "installed bad package post-installation script subprocess returned error exit status 1"
                        .into()
            })
        );
        assert_eq!(parse_progress("media-change: a:b"), None);
        assert_eq!(parse_progress("noise"), None);
    }

    #[test]
    fn failures_name_their_package() {
        let output = "Setting up bad (1.0) ...\n\
            dpkg: error processing package bad (--configure):\n installed bad package post-installation script subprocess returned error exit status 1\n\
            dpkg: error processing archive /var/cache/apt/archives/worse_1_all.deb (--unpack):\n\
            Errors were encountered while processing:\n bad\n";
        assert_eq!(failed_packages(output), ["bad", "worse"]);
    }

    #[test]
    fn reasons_are_those_of_apt() {
        let stdout = "The following information may help to resolve the situation:\n\n\
            The following packages have unmet dependencies:\n a : Depends: b but it is not installable\n";
        let stderr = "E: Unable to correct problems, you have held broken packages.\n";
        assert_eq!(reasons(stdout, stderr), "a : Depends: b but it is not installable");
        let solver = "E: The following information from --solver 3.0 may provide additional context:\n   Unable to satisfy\n";
        assert_eq!(reasons(stdout, &format!("{stderr}{solver}")), "a : Depends: b but it is not installable");
        let alternatives = "The following packages have unmet dependencies:\n a : Depends: b but it is not going to be installed or\n              c\n";
        assert_eq!(reasons(alternatives, ""), "a : Depends: b but it is not going to be installed or c");
        assert_eq!(
            reasons("", "E: Unable to locate package x\nE: Unable to locate package y\n"),
            "Unable to locate package x; Unable to locate package y"
        );
        assert_eq!(
            reasons("", "E: Unable to correct problems, you have held broken packages.\n"),
            "Unable to correct problems, you have held broken packages."
        );
    }

    #[test]
    fn virtual_packages_have_providers() {
        let text = "Reading package lists...\nPackage mail-transport-agent is a virtual package provided by:\n  \
            postfix 3.7.11-0+deb12u1\n  nullmailer 1:2.2-4\n  nullmailer 1:2.2-3\nYou should explicitly select one to install.\n";
        let expected = vec!["postfix".to_owned(), "nullmailer".to_owned()];
        assert_eq!(virtual_packages(text), [("mail-transport-agent".to_owned(), expected)]);
        assert!(virtual_packages("E: nothing").is_empty());
    }
}
