// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What a command in a sandbox sees and can do

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};

use template_chroot::overlay::Merged;
use template_chroot::{Bind, ChrootError, Root, Sandbox};

use crate::Test;
use crate::fixture::{Overlay, Tree, base, difference, scratch, snapshot};

pub const TESTS: &[Test] = &[
    ("sandbox_is_apart", is_apart),
    ("sandbox_cannot_get_out", cannot_get_out),
    ("sandbox_forwards_the_end", forwards_the_end),
    ("sandbox_kills_what_is_left", kills_what_is_left),
    ("sandbox_binds", binds),
    ("sandbox_leaves_the_tree_alone", leaves_the_tree_alone),
    ("sandbox_overlay_keeps_only_changes", overlay_keeps_only_changes),
    ("sandbox_overlay_with_long_paths", overlay_with_long_paths),
    ("sandbox_denies_services", denies_services),
    ("sandbox_follows_links_inside", follows_links_inside),
    ("sandbox_takes_leftovers_of_a_killed_run_away", takes_leftovers_of_a_killed_run_away),
    ("sandbox_names_what_failed", names_what_failed),
    ("sandbox_network_only_when_asked", network_only_when_asked),
];

fn sh(sandbox: &Sandbox, script: &str) -> String {
    let captured = sandbox.capture(&["sh", "-c", script]).unwrap();
    assert!(captured.exit.success(), "{script}: {} {}", captured.text(), captured.errors());
    captured.text().trim().to_owned()
}

fn is_apart() {
    let overlay = Overlay::new();
    let sandbox = Sandbox::new(overlay.root());
    let host = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let inside = sh(&sandbox, "cut -d' ' -f5 /proc/self/mountinfo");
    let own = ["/dev", "/proc", "/run", "/sys", "/tmp", "/usr/sbin/"];
    for line in inside.lines() {
        assert!(line == "/" || own.iter().any(|o| line.starts_with(o)), "{line} is mounted inside");
    }
    assert!(host.lines().count() > 3);
    assert_eq!(sh(&sandbox, "ls -d /proc/[0-9]* | head -n 1; echo $$"), "/proc/1\n2");
    assert!(sh(&sandbox, "ls -d /proc/[0-9]* | wc -l").parse::<u32>().unwrap() < 6);
    assert_eq!(sh(&sandbox, "hostname 2>/dev/null || cat /proc/sys/kernel/hostname"), "localhost");
    assert_eq!(sh(&sandbox, "umask"), "0022");
    assert_eq!(sh(&sandbox, "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '"), "lo");
    assert_eq!(sh(&sandbox, "cat /sys/class/net/lo/flags"), "0x9", "the loopback interface is up");
    assert_eq!(sh(&sandbox, "ls /proc/self/fd | wc -l"), "4", "standard ones and that of ls");
    let env = sh(&sandbox, "env | cut -d= -f1 | sort | tr '\\n' ' '");
    let known = [
        "DEBCONF_NONINTERACTIVE_SEEN",
        "DEBIAN_FRONTEND",
        "HOME",
        "LC_ALL",
        "PATH",
        "PWD",
        "SOURCE_DATE_EPOCH",
    ];
    assert!(env.split(' ').all(|name| known.contains(&name)), "{env}");
    // CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SYS_CHROOT MKNOD AUDIT_WRITE SETFCAP
    let allowed = 0xa804_00fb_u64;
    for set in ["CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb"] {
        let mask = sh(&sandbox, &format!("grep {set} /proc/self/status | cut -f2"));
        assert_eq!(u64::from_str_radix(&mask, 16).unwrap() & !allowed, 0, "{set} {mask}");
    }
    assert_eq!(sh(&sandbox, "grep NoNewPrivs /proc/self/status | cut -f2"), "1");
    assert_eq!(sh(&sandbox, "cat </dev/stdin; echo end"), "end");
    assert_eq!(
        sh(&sandbox, "echo x > /dev/null; head -c 3 /dev/zero | wc -c; stat -c %a /tmp /dev/shm"),
        "3\n1777\n1777"
    );
}

fn cannot_get_out() {
    let overlay = Overlay::new();
    let sandbox = Sandbox::new(overlay.root());
    for (what, script) in [
        ("a device of the host", "mknod /var/tmp/d b 7 0 && head -c 1 /var/tmp/d"),
        ("a device on a tmpfs", "mknod /tmp/d c 1 3 && echo > /tmp/d"),
        ("a device in /dev", "mknod /dev/d c 1 3 && echo > /dev/d"),
        ("the root of process 1", "ls /proc/1/root/"),
        ("the files of process 1", "readlink /proc/1/fd/1"),
        ("the program of process 1", "readlink /proc/1/exe"),
        ("a mount", "mount -t tmpfs none /mnt"),
        ("a bind mount", "mount --bind /usr /mnt"),
        ("a new namespace", "unshare --mount true"),
        ("the settings of the kernel", "echo x > /proc/sys/kernel/core_pattern"),
        ("magic keys", "echo h > /proc/sysrq-trigger"),
        ("the network", "ls /sys/class/net | grep -v '^lo$'"),
        ("firmware tables", "ls -A /sys/firmware | grep ."),
        ("sysfs", "echo x > /sys/power/state"),
    ] {
        let captured = sandbox.capture(&["sh", "-c", script]).unwrap();
        assert!(!captured.exit.success(), "{what} is within reach: {}", captured.text());
    }
    // process 1 is immune to what is inside
    assert_eq!(sh(&sandbox, "kill -9 1; sleep 0.1; echo alive"), "alive");
}

fn forwards_the_end() {
    let overlay = Overlay::new();
    let sandbox = Sandbox::new(overlay.root());
    for (script, code, signal) in [
        ("exit 0", 0, None),
        ("exit 3", 3, None),
        ("exit 255", 255, None),
        ("kill -TERM $$", 143, Some(15)),
        ("kill -9 $$", 137, Some(9)),
    ] {
        let exit = sandbox.capture(&["sh", "-c", script]).unwrap().exit;
        assert_eq!((exit.code, exit.signal), (code, signal), "{script}");
    }
    let captured = sandbox.capture(&["sh", "-c", "echo out; echo err >&2"]).unwrap();
    assert_eq!((captured.text().as_str(), captured.errors().as_str()), ("out\n", "err\n"));
}

fn kills_what_is_left() {
    let overlay = Overlay::new();
    let begin = std::time::Instant::now();
    sh(&Sandbox::new(overlay.root()), "sleep 98761 & (setsid sleep 98762 &) ; trap '' TERM; exit 0");
    assert!(begin.elapsed().as_secs() < 5);
    assert!(!crate::victim::running("9876"));
}

fn binds() {
    let tree = Tree::clean();
    let dir = scratch();
    let source = dir.path().join("source");
    fs::create_dir_all(source.join("sub")).unwrap();
    fs::write(source.join("file"), "text").unwrap();
    let before = snapshot(&tree.path);
    let sandbox = Sandbox::new(tree.root())
        .bind(Bind::read_only(&source, "/isar-apt"))
        .bind(Bind::writable(&source, "/srv/deep/inside"))
        .bind(Bind::read_only(source.join("file"), "/etc/a-file"));
    assert_eq!(sh(&sandbox, "cat /isar-apt/file /etc/a-file"), "texttext");
    assert_eq!(sh(&sandbox, "echo x > /isar-apt/new || echo refused"), "refused");
    assert_eq!(sh(&sandbox, "echo x > /etc/a-file || echo refused"), "refused");
    assert_eq!(
        sh(&sandbox, "mknod /srv/deep/inside/d c 1 3; echo > /srv/deep/inside/d || echo refused"),
        "refused"
    );
    sh(&sandbox, "echo written > /srv/deep/inside/new");
    assert_eq!(fs::read_to_string(source.join("new")).unwrap(), "written\n");
    let changes = difference(&before, &snapshot(&tree.path));
    assert!(changes.is_empty(), "{changes:?}");
}

fn leaves_the_tree_alone() {
    let tree = Tree::copy();
    let before = snapshot(&tree.path);
    let sandbox = Sandbox::new(tree.root()).network(true);
    sh(&sandbox, "echo x > /run/x; echo x > /tmp/x; echo x > /dev/shm/x; ls /usr/sbin/policy-rc.d");
    let changes = difference(&before, &snapshot(&tree.path));
    assert!(changes.is_empty(), "{changes:?}");
    sh(&sandbox, "echo kept > /srv/kept");
    assert_eq!(tree.read("srv/kept"), "kept\n");
}

fn overlay_keeps_only_changes() {
    let overlay = Overlay::new();
    let dir = scratch();
    let sandbox = Sandbox::new(overlay.root())
        .network(true)
        .bind(Bind::read_only(dir.path(), "/isar-apt"))
        .bind(Bind::read_only("/etc/hostname", "/etc/not-there-yet"));
    sh(&sandbox, "echo kept > /srv/kept; echo x > /run/x; echo x > /tmp/x");
    let mut upper: Vec<_> = snapshot(&overlay.upper()).into_keys().collect();
    upper.retain(|p| !p.as_os_str().is_empty());
    assert_eq!(upper, ["srv", "srv/kept"].map(std::path::PathBuf::from));
    // and the next one finds it
    assert_eq!(sh(&sandbox, "cat /srv/kept"), "kept");
    assert!(!base().join("srv/kept").exists());
}

fn overlay_with_long_paths() {
    let dir = scratch();
    let deep = dir.path().join("x,:\\".repeat(50)).join("y".repeat(200));
    let [finish, upper, work] = ["finish", "upper", "work"].map(|name| deep.join(name));
    for path in [&finish, &upper, &work] {
        fs::create_dir_all(path).unwrap();
    }
    fs::write(finish.join("from-finish"), "1").unwrap();
    let root = Root::Overlay { lowers: vec![finish, base()], upper, work };
    sh(&Sandbox::new(root.clone()), "cp /from-finish /from-inside");
    let merged = Merged::of(&root).unwrap();
    for path in ["from-finish", "from-inside", "etc/os-release"] {
        assert!(merged.path().join(path).exists(), "{path}");
    }
}

fn denies_services() {
    let script = "/usr/sbin/policy-rc.d x start; echo $?; start-stop-daemon --start --exec /bin/sleep -- 98763 2>/dev/null; echo $?";
    // a tree as it is, and one that Isar has prepared
    let tree = Tree::copy();
    for prepared in [false, true] {
        if prepared {
            let real = tree.path.join("sbin/start-stop-daemon");
            fs::rename(&real, tree.path.join("sbin/start-stop-daemon.REAL")).unwrap();
            tree.write("sbin/start-stop-daemon", "#!/bin/sh\nexit 7\n", 0o755);
            tree.write("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 9\n", 0o755);
        }
        let before = snapshot(&tree.path);
        let sandbox = Sandbox::new(tree.root());
        assert_eq!(sh(&sandbox, script), "101\n0");
        let changes = difference(&before, &snapshot(&tree.path));
        assert!(changes.is_empty(), "{changes:?}");
    }
    let allowed = Sandbox::new(tree.root()).deny_services(false);
    assert_eq!(sh(&allowed, "/usr/sbin/policy-rc.d; echo $?"), "9");
    // what a killed run has left is taken away by the next
    fs::remove_file(tree.path.join("usr/sbin/policy-rc.d")).unwrap();
    tree.write("usr/sbin/policy-rc.d", "", 0);
    sh(&Sandbox::new(tree.root()), "true");
    assert!(!tree.exists("usr/sbin/policy-rc.d"));
}

fn follows_links_inside() {
    let tree = Tree::copy();
    // links that lead out, were they followed on the host
    let outside = scratch();
    fs::create_dir(outside.path().join("tmp")).unwrap();
    let target = outside.path().join("tmp");
    fs::remove_dir_all(tree.path.join("srv")).unwrap();
    std::os::unix::fs::symlink(&target, tree.path.join("srv")).unwrap();
    let _ = fs::remove_file(tree.path.join("etc/resolv.conf"));
    std::os::unix::fs::symlink("../run/stub/resolv.conf", tree.path.join("etc/resolv.conf")).unwrap();
    let before = snapshot(&tree.path);
    let sandbox =
        Sandbox::new(tree.root()).network(true).bind(Bind::read_only("/etc/hostname", "/srv/x/name"));
    assert_eq!(sh(&sandbox, "cat /srv/x/name"), fs::read_to_string("/etc/hostname").unwrap().trim());
    assert_eq!(sh(&sandbox, "cat /etc/resolv.conf"), fs::read_to_string("/etc/resolv.conf").unwrap().trim());
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0, "something was made outside");
    let changes = difference(&before, &snapshot(&tree.path));
    assert!(changes.is_empty(), "{changes:?}");
}

fn takes_leftovers_of_a_killed_run_away() {
    let tree = Tree::copy();
    let place = tree.path.join("isar-apt");
    fs::DirBuilder::new().mode(0o000).create(&place).unwrap();
    let sandbox = Sandbox::new(tree.root()).bind(Bind::read_only("/etc", "/isar-apt"));
    assert_eq!(sh(&sandbox, "test -e /isar-apt/hostname && echo there"), "there");
    assert!(!place.exists());
}

fn names_what_failed() {
    let overlay = Overlay::new();
    let error = Sandbox::new(overlay.root()).capture(&["no-such-program"]).unwrap_err();
    assert_eq!(error.to_string(), "starting 'no-such-program' inside: no such file or directory");
    assert_eq!(error.exit_code(), 5);
    let error = Sandbox::new(Root::Tree("/nonexistent".into())).capture(&["true"]).unwrap_err();
    assert!(matches!(&error, ChrootError::Io { path, .. } if path.ends_with("nonexistent")), "{error}");
    let error = Sandbox::new(overlay.root()).bind(Bind::read_only("/nonexistent", "/x")).capture(&["true"]);
    assert!(error.unwrap_err().to_string().starts_with("binding: /nonexistent: "));
    let error = Sandbox::new(overlay.root()).cwd("/nonexistent").capture(&["true"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "setting up the sandbox: entering: /nonexistent: no such file or directory"
    );
    let error = Sandbox::new(overlay.root())
        .bind(Bind::read_only("/etc/hostname", "/etc"))
        .capture(&["true"])
        .unwrap_err();
    assert!(error.to_string().starts_with("setting up the sandbox: mounting on: /etc: "), "{error}");
}

fn network_only_when_asked() {
    let overlay = Overlay::new();
    let namespace = fs::read_link("/proc/self/ns/net").unwrap().to_str().unwrap().to_owned();
    let inside = |sandbox: &Sandbox| sh(sandbox, "readlink /proc/self/ns/net");
    assert_ne!(inside(&Sandbox::new(overlay.root())), namespace);
    assert_eq!(inside(&Sandbox::new(overlay.root()).network(true)), namespace);
    // a directory of ours that nobody else may enter is of no concern
    let closed = scratch();
    fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(sh(&Sandbox::new(overlay.root()).bind(Bind::read_only(closed.path(), "/mnt")), "ls /mnt"), "");
}
