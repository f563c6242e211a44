// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
use super::*;
use crate::system::of_files;

const LIST: &str = "/.\n/etc\n/etc/daemon\n/etc/daemon/main.conf\n/etc/default/daemon\n/lib\n/lib/systemd/system/daemon.service\n\
    /usr\n/usr/bin\n/usr/bin/daemon\n/usr/lib/sysusers.d/daemon.conf\n/usr/lib/tmpfiles.d/daemon.conf\n/usr/share/daemon\n\
    /usr/share/daemon/data\n/var/lib/daemon\n";

/// A system with a daemon that uses everything there is.
const SYSTEM: [(&str, &str); 23] = [
    ("var/lib/dpkg/info/daemon.list", LIST),
    ("var/lib/dpkg/info/daemon.conffiles", "/etc/daemon/main.conf\n/etc/default/daemon\n"),
    (
        "var/lib/dpkg/info/daemon.postinst",
        "D=_daemond\nadduser --system $D\nadduser $D tty\nadduser $D shared\n",
    ),
    ("var/lib/dpkg/info/base.list", "/.\n/etc\n/usr\n/usr/bin\n/lib\n"),
    ("var/lib/dpkg/info/other.postinst", "addgroup --system shared\n"),
    ("etc/daemon/main.conf", ""),
    ("etc/default/daemon", ""),
    ("usr/lib/sysusers.d/daemon.conf", "u daemon-web -\n"),
    ("usr/lib/tmpfiles.d/daemon.conf", "d /run/daemon\nd /var/spool/daemon-queue\n"),
    ("usr/bin/daemon", ""),
    ("lib/systemd/system/daemon.service", ""),
    ("usr/share/daemon/data", ""),
    ("var/lib/daemon/state", ""),
    ("var/spool/daemon-queue/1", ""),
    ("var/log/daemon.log", ""),
    ("etc/systemd/system/multi-user.target.wants/daemon.service", "-> /lib/systemd/system/daemon.service"),
    ("etc/alternatives/server", "-> /bin/daemon"),
    ("var/lib/dpkg/alternatives/server", "auto\n/usr/bin/server\n\n/bin/daemon\n50\n\n"),
    ("var/lib/dpkg/diversions", "/usr/bin/x\n/usr/bin/x.real\ndaemon\n"),
    ("var/lib/dpkg/statoverride", "root root 4755 /usr/bin/daemon\n"),
    ("etc/shells", "/bin/sh\n/usr/bin/daemon\n"),
    ("usr/bin/daemonctl", "-> daemon"),
    ("etc/daemonctl", "-> /usr/bin/daemonctl"),
];

fn system() -> (tempfile::TempDir, Tree) {
    let mut files = SYSTEM.to_vec();
    files.extend([
        (
            "etc/passwd",
            "root:x:0:0::/root:/bin/sh\n_daemond:x:101:102::/var/lib/daemon:/bin/false\ndaemon-web:x:102:103::/:/bin/false\n",
        ),
        ("etc/group", "root:x:0:\ntty:x:5:\nshared:x:105:\n_daemond:x:102:\n"),
        ("usr/share/base-passwd/group.master", "root:*:0:\ntty:*:5:\n"),
    ]);
    of_files(&files)
}

fn remove(dir: &Path, paths: &[&str]) {
    for path in paths {
        std::fs::remove_file(dir.join(path)).unwrap();
    }
}

const PURGED: [&str; 9] = [
    "var/lib/dpkg/info/daemon.list",
    "var/lib/dpkg/info/daemon.conffiles",
    "var/lib/dpkg/info/daemon.postinst",
    "etc/daemon/main.conf",
    "etc/default/daemon",
    "usr/lib/sysusers.d/daemon.conf",
    "usr/lib/tmpfiles.d/daemon.conf",
    "lib/systemd/system/daemon.service",
    "usr/share/daemon/data",
];

#[test]
fn everything_that_is_left_is_told() {
    let (dir, tree) = system();
    let gone = note(&tree, &[("daemon", "amd64")]).unwrap();
    remove(dir.path(), &PURGED);
    remove(dir.path(), &["usr/bin/daemon"]);
    std::fs::remove_dir(dir.path().join("usr/share/daemon")).unwrap();
    std::fs::write(dir.path().join("etc/default/daemon.dpkg-old"), "").unwrap();
    std::fs::write(dir.path().join("etc/daemon/generated"), "").unwrap();
    let found: Vec<String> = find(&tree, &gone)
        .unwrap()
        .into_iter()
        .map(|l| format!("{} {} {}", l.kind.word(), l.path, l.detail).trim_end().to_owned())
        .collect();
    assert_eq!(
        found,
        [
            "file /var/lib/daemon/state",
            "file /var/log/daemon.log",
            "file /var/spool/daemon-queue/1",
            "directory /etc/daemon 1 file",
            "directory /var/lib/daemon 1 file",
            "directory /var/spool/daemon-queue 1 file",
            "configuration /etc/daemon/generated",
            "configuration /etc/default/daemon.dpkg-old",
            "user _daemond number 101, home /var/lib/daemon",
            "user daemon-web number 102, home /",
            "group _daemond number 102",
            "enablement /etc/systemd/system/multi-user.target.wants/daemon.service enables daemon.service",
            "alternative /etc/alternatives/server leads to /bin/daemon",
            "diversion /usr/bin/x goes to /usr/bin/x.real",
            "stat-override /usr/bin/daemon root:root 4755",
            "shell /usr/bin/daemon in /etc/shells",
            "symlink /etc/daemonctl leads to /usr/bin/daemonctl",
            "symlink /usr/bin/daemonctl leads to /usr/bin/daemon",
        ]
    );
}

#[test]
fn own_files_have_to_be_gone() {
    let (dir, tree) = system();
    let gone = note(&tree, &[("daemon", "amd64")]).unwrap();
    remove(dir.path(), &PURGED);
    let error = find(&tree, &gone).unwrap_err();
    assert_eq!(error.exit_code(), 6);
    assert!(
        error.to_string().contains("'daemon' is removed") && error.to_string().contains("'/usr/bin/daemon'")
    );
    // unless another package has them, by whatever name
    std::fs::write(dir.path().join("var/lib/dpkg/info/new.list"), "/.\n/bin/daemon\n").unwrap();
    assert!(find(&tree, &gone).unwrap().iter().all(|leftover| leftover.path != "/usr/bin/daemon"
        || leftover.kind == LeftoverKind::StatOverride));
}

#[test]
fn systems_need_not_be_merged() {
    let (dir, tree) = of_files(&[
        ("var/lib/dpkg/info/old.list", "/.\n/bin\n/bin/old\n/lib\n/lib/old\n/lib/old/data\n"),
        ("var/lib/dpkg/info/base.list", "/.\n/bin\n/lib\n/usr\n/usr/bin\n/usr/lib\n"),
        ("bin/old", ""),
        ("lib/old/data", ""),
        ("sbin/oldctl", "-> /bin/old"),
        ("usr/bin/env", ""),
    ]);
    let gone = note(&tree, &[("old", "all")]).unwrap();
    remove(dir.path(), &["var/lib/dpkg/info/old.list", "lib/old/data"]);
    let error = find(&tree, &gone).unwrap_err();
    assert!(error.to_string().contains("no other package: '/bin/old'; "), "{error}");
    remove(dir.path(), &["bin/old"]);
    let left = |found: Vec<Leftover>| found.into_iter().map(|l| l.path).collect::<Vec<_>>();
    assert_eq!(left(find(&tree, &gone).unwrap()), ["/lib/old", "/sbin/oldctl"]);
}

#[test]
fn nothing_is_looked_at_when_nothing_goes() {
    let (_dir, tree) = system();
    assert!(find(&tree, &note(&tree, &[]).unwrap()).unwrap().is_empty());
}
