// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Transactions on real trees, with packages made by code

use std::fs;
use std::path::Path;

use template_chroot::apt::{
    self, Action, AskedBy, Event, Operation, Origin, Plan, Report, TransactionRequest, UpdateMode,
};
use template_chroot::{Bind, ChrootError, Sandbox};

use crate::Test;
use crate::fixture::{Deb, Overlay, Tree, base, difference, repository, scratch, snapshot};

pub const TESTS: &[Test] = &[
    ("plan_touches_nothing", plan_touches_nothing),
    ("transaction_adds_and_removes", adds_and_removes),
    ("transaction_on_an_overlay", on_an_overlay),
    ("transaction_scripts_see_nothing_of_the_host", scripts_see_nothing),
    ("transaction_removes_what_nobody_needs", removes_what_nobody_needs),
    ("transaction_installs_the_same_version_again", installs_again),
    ("transaction_keeps_configuration", keeps_configuration),
    ("transaction_failure_names_the_package", failure_names_the_package),
    ("transaction_with_nothing_to_do", nothing_to_do),
    ("transaction_refuses", refuses),
    ("transaction_not_solvable", not_solvable),
    ("transaction_with_a_plan_that_does_not_fit", plan_does_not_fit),
    ("transaction_uses_bound_sources", uses_bound_sources),
    ("transaction_keeps_archives_when_asked", keeps_archives),
    ("transaction_repository_is_gone", repository_is_gone),
    ("online_transaction", online_transaction),
];

fn quiet(_: Event<'_>) {}

/// Offline: only what the test itself has made.
fn request() -> TransactionRequest {
    TransactionRequest { update: UpdateMode::Local, unsafe_io: true, ..Default::default() }
}

fn add(names: &[&str]) -> Vec<apt::Add> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn deb(path: &Path) -> apt::Add {
    apt::Add::Deb(path.to_owned())
}

fn plan(tree: &Tree, request: &TransactionRequest) -> Result<Plan, ChrootError> {
    apt::plan(&tree.root(), request, &mut quiet)
}

fn apply(tree: &Tree, request: &TransactionRequest) -> Result<Report, ChrootError> {
    let mut sink = quiet;
    let mut transaction = apt::Transaction::open(tree.root(), request.clone(), &mut sink)?;
    let plan = transaction.plan()?;
    transaction.apply(&plan)
}

fn action<'a>(plan: &'a Plan, package: &str) -> &'a Action {
    plan.actions
        .iter()
        .find(|a| a.package == package)
        .unwrap_or_else(|| panic!("{package} is not in:\n{plan}"))
}

/// `tool` needs `tool-common`; `other` and `not-installed` are alone.
fn repo() -> tempfile::TempDir {
    repository(&[
        Deb::new("tool", "1.0").field("Depends", "tool-common").program("usr/bin/tool", "#!/bin/sh\n"),
        Deb::new("tool-common", "1.0").field("Installed-Size", "100").file("usr/share/tool/data", "data"),
        Deb::new("other", "2.0").file("usr/share/other", "x"),
        Deb::new("not-installed", "1.0"),
    ])
}

fn plan_touches_nothing() {
    let tree = Tree::clean();
    let repo = repo();
    let before = tree.snapshot();
    let request = TransactionRequest { add: add(&["tool"]), repos: vec![repo.path().into()], ..request() };
    let first = plan(&tree, &request).unwrap();
    let changes = difference(&before, &tree.snapshot());
    assert!(changes.is_empty(), "{changes:?}");
    let tool = action(&first, "tool");
    assert_eq!((tool.operation, tool.asked_by), (Operation::Install, AskedBy::Request));
    assert_eq!(tool.origin, Some(Origin::Folder { path: repo.path().into() }));
    assert_eq!(tool.sha256.as_ref().map(String::len), Some(64));
    let common = action(&first, "tool-common");
    assert_eq!((common.asked_by, common.installed_size), (AskedBy::Dependency, Some(102_400)));
    assert_eq!(first.actions.len(), 2);
    assert_eq!(first.download_size, 0, "what is local need not be downloaded");
    // the same request, the same plan: also on another copy and with the folder elsewhere
    let elsewhere = scratch();
    crate::fixture::run(std::process::Command::new("cp").arg("-aT").arg(repo.path()).arg(elsewhere.path()));
    let other = TransactionRequest { repos: vec![elsewhere.path().into()], ..request.clone() };
    assert_eq!(plan(&Tree::overlay(), &other).unwrap().digest, first.digest);
    let json = serde_json::to_string(&first).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), first);
}

fn adds_and_removes() {
    let tree = Tree::copy();
    let repo = repo();
    let dir = scratch();
    let local =
        Deb::new("local", "1:3.0-1").field("Depends", "other").file("usr/share/local", "x").build(dir.path());
    let first = TransactionRequest { add: add(&["tool"]), repos: vec![repo.path().into()], ..request() };
    apply(&tree, &first).unwrap();
    assert_eq!(tree.package("tool"), "installed 1.0");
    assert!(tree.exists("usr/share/tool/data"));

    // all at once
    let second = TransactionRequest {
        add: vec![deb(&local)],
        remove: vec!["tool".into(), "not-installed".into()],
        repos: vec![repo.path().into()],
        ..request()
    };
    let mut steps = Vec::new();
    let mut lines = String::new();
    let mut percents = 0;
    let mut sink = |event: Event<'_>| match event {
        Event::Step(step) => steps.push(step.to_owned()),
        Event::Output(line) => lines.push_str(&format!("{line}\n")),
        Event::Percent { .. } => percents += 1,
    };
    let mut transaction = apt::Transaction::open(tree.root(), second, &mut sink).unwrap();
    let plan = transaction.plan().unwrap();
    assert_eq!(plan.notes, ["'not-installed' is not installed, so it is not removed"]);
    assert_eq!(action(&plan, "local").origin, Some(Origin::File { path: local.clone() }));
    assert_eq!(action(&plan, "local").new_version.as_deref(), Some("1:3.0-1"));
    let report = transaction.apply(&plan).unwrap();
    drop(transaction);
    assert_eq!(report.plan_digest, plan.digest);
    assert_eq!(tree.package("local"), "installed 1:3.0-1");
    assert_eq!(tree.package("other"), "installed 2.0");
    assert_eq!(tree.package("tool"), "");
    assert!(!tree.exists("usr/bin/tool"));
    assert_eq!(
        steps,
        ["reading local repositories", "resolving", "installing packages", "checking the result"]
    );
    assert!(lines.contains("Setting up local (1:3.0-1) ...") && lines.contains("newly installed"), "{lines}");
    assert!(percents > 5);

    // nothing of the run stays but what apt and dpkg keep books of
    for pattern in ["var/lib/apt/lists", "var/cache/apt"] {
        let mut left = snapshot(&tree.path.join(pattern)).into_keys().collect::<Vec<_>>();
        let before = snapshot(&base().join(pattern));
        left.retain(|path| !before.contains_key(path));
        assert!(left.is_empty(), "{left:?}");
    }
    assert!(!tree.exists("run/isar-template") && !tree.exists("usr/sbin/policy-rc.d"));
}

fn on_an_overlay() {
    let overlay = Overlay::new();
    let repo = repo();
    let request = TransactionRequest { add: add(&["tool"]), repos: vec![repo.path().into()], ..request() };
    let before = snapshot(&base());
    let plan = apt::plan(&overlay.root(), &request, &mut quiet).unwrap();
    assert_eq!(snapshot(&overlay.upper()).len(), 1, "planning writes nothing");
    apt::apply(&overlay.root(), &request, &plan, &mut quiet).unwrap();
    assert!(overlay.upper().join("usr/bin/tool").exists());
    assert!(!overlay.upper().join("usr/sbin").exists(), "no placeholder, no whiteout");
    assert!(difference(&before, &snapshot(&base())).is_empty());
}

fn scripts_see_nothing() {
    let tree = Tree::overlay();
    let dir = scratch();
    let report = "/var/lib/probe";
    let body = format!(
        "mkdir -p {report}; cut -d' ' -f2 /proc/mounts > {report}/mounts; \
         for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; echo; done > {report}/processes; \
         cat /proc/net/dev > {report}/net; env > {report}/env; cat > {report}/stdin; \
         /usr/sbin/policy-rc.d; test $? = 101; \
         invoke-rc.d probe start; (sleep 98764 &)"
    );
    // set -e must not stop at a policy that denies
    let body = body.replace(
        "/usr/sbin/policy-rc.d; test $? = 101",
        "code=0; /usr/sbin/policy-rc.d || code=$?; test $code = 101",
    );
    let body = body
        .replace("invoke-rc.d probe start;", "if command -v invoke-rc.d; then invoke-rc.d probe start; fi;");
    let probe = Deb::new("probe", "1")
        .program("etc/init.d/probe", "#!/bin/sh\necho started >> /var/lib/probe/started\n")
        .script("postinst", &body)
        .build(dir.path());
    apply(&tree, &TransactionRequest { add: vec![deb(&probe)], ..request() }).unwrap();
    let read = |name: &str| tree.read(&format!("var/lib/probe/{name}"));
    let own = ["/dev", "/proc", "/run", "/sys", "/tmp", "/usr/sbin/"];
    for mount in read("mounts").lines() {
        assert!(mount == "/" || own.iter().any(|o| mount.starts_with(o)), "{mount} is mounted");
    }
    let processes = read("processes");
    assert!(
        processes.lines().all(|p| ["", "/sys/helper", "apt-get", "/usr/bin/dpkg", "/bin/sh", "sh", "tr"]
            .contains(&p.split(' ').next().unwrap())),
        "{processes}"
    );
    assert_eq!(
        read("net")
            .lines()
            .skip(2)
            .map(|l| l.split(':').next().unwrap().trim().to_owned())
            .collect::<Vec<_>>(),
        ["lo"]
    );
    assert!(read("env").contains("DEBIAN_FRONTEND=noninteractive\n"));
    assert_eq!(read("stdin"), "");
    assert!(!tree.exists("var/lib/probe/started"), "a service was started");
    assert!(!crate::victim::running("98764"));
}

fn removes_what_nobody_needs() {
    let tree = Tree::overlay();
    let repo = repo();
    let with_repo = TransactionRequest { repos: vec![repo.path().into()], ..request() };
    let install = TransactionRequest { add: add(&["tool", "other"]), ..with_repo.clone() };
    apply(&tree, &install).unwrap();

    // an unchanged tree loses nothing that somebody asked for
    let unchanged = TransactionRequest { auto_remove: true, ..with_repo.clone() };
    let plan_before = plan(&tree, &unchanged).unwrap();
    assert!(
        plan_before.actions.iter().all(|a| !["tool", "tool-common", "other"].contains(&a.package.as_str()))
    );

    let marked =
        TransactionRequest { mark_auto: vec!["tool".into()], auto_remove: true, ..with_repo.clone() };
    let planned = plan(&tree, &marked).unwrap();
    for name in ["tool", "tool-common"] {
        assert_eq!(action(&planned, name).asked_by, AskedBy::AutoRemove);
    }
    assert!(planned.marks.is_empty(), "what goes needs no mark");
    apply(&tree, &marked).unwrap();
    assert_eq!((tree.package("tool").as_str(), tree.package("tool-common").as_str()), ("", ""));
    assert_eq!(tree.package("other"), "installed 2.0");

    // marked, but something needs it
    apply(&tree, &install).unwrap();
    let common = TransactionRequest { mark_auto: vec!["other".into()], ..with_repo.clone() };
    let report = apply(&tree, &common).unwrap();
    assert_eq!(
        report.marks.iter().map(|m| (m.package.as_str(), m.auto)).collect::<Vec<_>>(),
        [("other", true)]
    );
    assert!(tree.read("var/lib/apt/extended_states").contains("Package: other\n"));
    // asked for again
    let again = TransactionRequest { add: add(&["other"]), ..with_repo };
    let report = apply(&tree, &again).unwrap();
    assert_eq!(
        report.marks.iter().map(|m| (m.package.as_str(), m.auto)).collect::<Vec<_>>(),
        [("other", false)]
    );
    assert!(apply(&tree, &again).unwrap().nothing_to_do);
}

fn installs_again() {
    let tree = Tree::overlay();
    let dir = scratch();
    let first = Deb::new("local", "1.0").file("usr/share/local", "old").build(dir.path());
    apply(&tree, &TransactionRequest { add: vec![deb(&first)], ..request() }).unwrap();
    let second = Deb::new("local", "1.0").file("usr/share/local", "new").build(dir.path());
    let request_ = TransactionRequest { add: vec![deb(&second)], ..request() };
    assert_eq!(action(&plan(&tree, &request_).unwrap(), "local").operation, Operation::Reinstall);
    apply(&tree, &request_).unwrap();
    assert_eq!(tree.read("usr/share/local"), "new");

    // and from a repository, when asked to
    let repo = repository(&[Deb::new("local", "1.0").file("usr/share/local", "newest")]);
    let plain = TransactionRequest { add: add(&["local"]), repos: vec![repo.path().into()], ..request() };
    assert!(plan(&tree, &plain).unwrap().nothing_to_do);
    for name in ["local", "local=1.0"] {
        let again =
            TransactionRequest { add: add(&[name]), reinstall: vec!["local".into()], ..plain.clone() };
        apply(&tree, &again).unwrap();
        assert_eq!(tree.read("usr/share/local"), "newest");
    }
}

fn keeps_configuration() {
    let tree = Tree::overlay();
    let dir = scratch();
    let old = Deb::new("local", "1.0").conffile("etc/local.conf", "as shipped\n").build(dir.path());
    apply(&tree, &TransactionRequest { add: vec![deb(&old)], ..request() }).unwrap();
    tree.write("etc/local.conf", "mine\n", 0o644);
    let new = Deb::new("local", "2.0").conffile("etc/local.conf", "as shipped later\n").build(dir.path());
    let upgrade = TransactionRequest { add: vec![deb(&new)], ..request() };
    let refused = apply(&tree, &upgrade).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "refused by policy: 'local': is part of the template and would be upgraded from 1.0 to 2.0"
    );
    apply(&tree, &TransactionRequest { allow_upgrade: vec!["local".into()], ..upgrade }).unwrap();
    assert_eq!(tree.package("local"), "installed 2.0");
    assert_eq!(tree.read("etc/local.conf"), "mine\n");
    // removal is purging
    apply(&tree, &TransactionRequest { remove: vec!["local".into()], ..request() }).unwrap();
    assert!(!tree.exists("etc/local.conf"));
    assert_eq!(tree.package("local"), "");
    // also of what was removed without
    apply(&tree, &TransactionRequest { add: vec![deb(&new)], ..request() }).unwrap();
    let removed = Sandbox::new(tree.root()).capture(&["dpkg", "--remove", "local"]).unwrap();
    assert!(removed.exit.success() && tree.exists("etc/local.conf"));
    let purge = TransactionRequest { remove: vec!["local".into()], ..request() };
    apply(&tree, &purge).unwrap();
    assert!(!tree.exists("etc/local.conf"));
    assert_eq!(plan(&tree, &purge).unwrap_err().kind(), "not-solvable", "nobody knows it any more");
    // back, and down
    apply(&tree, &TransactionRequest { add: vec![deb(&new)], ..request() }).unwrap();
    let down = TransactionRequest { add: vec![deb(&old)], allow_upgrade: vec!["local".into()], ..request() };
    assert_eq!(action(&plan(&tree, &down).unwrap(), "local").operation, Operation::Downgrade);
    apply(&tree, &down).unwrap();
    assert_eq!(tree.package("local"), "installed 1.0");
}

fn failure_names_the_package() {
    let tree = Tree::overlay();
    let dir = scratch();
    let bad = Deb::new("bad", "1").script("postinst", "echo this is why; exit 3").build(dir.path());
    let error = apply(&tree, &TransactionRequest { add: vec![deb(&bad)], ..request() }).unwrap_err();
    assert!(matches!(&error, ChrootError::PackageFailed { package: Some(p), .. } if p == "bad"), "{error:?}");
    assert_eq!(error.exit_code(), 6);
    assert!(error.to_string().contains("this is why"), "{error}");
    let worse = Deb::new("worse", "1").script("preinst", "exit 1").build(dir.path());
    let error =
        apply(&Tree::overlay(), &TransactionRequest { add: vec![deb(&worse)], ..request() }).unwrap_err();
    assert!(
        matches!(&error, ChrootError::PackageFailed { package: Some(p), .. } if p == "worse"),
        "{error:?}"
    );
}

fn nothing_to_do() {
    let tree = Tree::overlay();
    let before = tree.snapshot();
    let repo = repo();
    let request = TransactionRequest {
        add: add(&["dpkg", "apt"]),
        remove: vec!["not-installed".into()],
        repos: vec![repo.path().into()],
        ..request()
    };
    let report = apply(&tree, &request).unwrap();
    assert!(report.nothing_to_do && report.packages > 50);
    let changes = difference(&before, &tree.snapshot());
    assert!(changes.is_empty(), "{changes:?}");
}

fn refuses() {
    let tree = Tree::overlay();
    let dir = scratch();
    let needed = Deb::new("needed", "1").build(dir.path());
    let needs = Deb::new("needs", "1").field("Depends", "needed").build(dir.path());
    apply(&tree, &TransactionRequest { add: vec![deb(&needed), deb(&needs)], ..request() }).unwrap();
    let before = tree.snapshot();
    let foreign = Deb::new("foreign", "1").field("Architecture", "riscv64").build(dir.path());
    let replaces = Deb::new("replaces", "1").field("Conflicts", "needed").build(dir.path());
    let dpkg = Deb::new("dpkg", "99").build(dir.path());
    let remove = |name: &str| TransactionRequest { remove: vec![name.into()], ..request() };
    let put = |path: &Path| TransactionRequest { add: vec![deb(path)], ..request() };
    for (request, expected) in [
        (remove("dpkg"), "'dpkg': cannot be removed: it is essential"),
        (remove("apt"), "'apt': cannot be removed: the package management itself needs it"),
        (remove("needed"), "'needs': would be removed as well: it depends on 'needed'"),
        (put(&replaces), "'needed': would be removed as well"),
        (put(&dpkg), "'dpkg': cannot be replaced: it is essential"),
    ] {
        let plan = plan(&tree, &request).unwrap();
        let error = plan.ensure_allowed().unwrap_err();
        assert_eq!(error.exit_code(), 4);
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.hint().is_some());
        assert_eq!(apply(&tree, &request).unwrap_err().kind(), "policy-refused");
    }
    // a package for another machine is not even a candidate
    let error = apply(&tree, &put(&foreign)).unwrap_err();
    assert_eq!(error.exit_code(), 4, "{error}");
    let both = TransactionRequest { remove: vec!["needed".into(), "needs".into()], ..request() };
    assert!(difference(&before, &tree.snapshot()).is_empty());
    apply(&tree, &both).unwrap();
}

fn not_solvable() {
    let tree = Tree::overlay();
    let dir = scratch();
    let error = plan(&tree, &TransactionRequest { add: add(&["nonsuch"]), ..request() }).unwrap_err();
    assert_eq!((error.kind(), error.exit_code()), ("not-solvable", 4));
    assert_eq!(error.to_string(), "resolving packages: Unable to locate package nonsuch");
    let broken = Deb::new("broken", "1").field("Depends", "nonsuch (>= 2)").build(dir.path());
    let error = plan(&tree, &TransactionRequest { add: vec![deb(&broken)], ..request() }).unwrap_err();
    assert_eq!(
        error.to_string(),
        "resolving packages: broken : Depends: nonsuch (>= 2) but it is not installable"
    );
    let error = plan(&tree, &TransactionRequest { add: add(&["dpkg=0.1"]), ..request() }).unwrap_err();
    assert!(error.to_string().contains("Version '0.1' for 'dpkg' was not found"), "{error}");
    fs::write(dir.path().join("noise.deb"), "noise").unwrap();
    let error =
        plan(&tree, &TransactionRequest { add: vec![deb(&dir.path().join("noise.deb"))], ..request() });
    assert_eq!(error.unwrap_err().exit_code(), 2);
    let error = plan(&tree, &TransactionRequest { repos: vec![scratch().path().into()], ..request() });
    assert!(matches!(error.unwrap_err().exit_code(), 1 | 2));
}

fn plan_does_not_fit() {
    let tree = Tree::overlay();
    let repo = repo();
    let wanted = TransactionRequest { add: add(&["tool"]), repos: vec![repo.path().into()], ..request() };
    let old = plan(&tree, &wanted).unwrap();
    apply(&tree, &TransactionRequest { add: add(&["other"]), ..wanted.clone() }).unwrap();
    let error = apt::apply(&tree.root(), &wanted, &old, &mut quiet).unwrap_err();
    assert_eq!((error.kind(), error.exit_code()), ("plan-changed", 4));
    assert_eq!(tree.package("tool"), "");
    // a plan made elsewhere, for the same state
    let fresh = plan(&tree, &wanted).unwrap();
    apt::apply(&tree.root(), &wanted, &fresh, &mut quiet).unwrap();
    assert_eq!(tree.package("tool"), "installed 1.0");
}

fn uses_bound_sources() {
    let tree = Tree::overlay();
    let repo = repo();
    tree.write(
        "etc/apt/sources.list.d/isar-apt.list",
        "deb [trusted=yes] file:///isar-apt ./\ndeb-src [trusted=yes] file:///isar-apt ./\n",
        0o644,
    );
    let unbound = TransactionRequest { add: add(&["tool"]), ..request() };
    let error = plan(&tree, &unbound).unwrap_err();
    assert_eq!(error.kind(), "not-solvable");
    let note = plan(&tree, &request()).unwrap().notes;
    assert_eq!(note, ["package source 'file:///isar-apt ./' is left out: it is empty or not there"]);
    let bound = TransactionRequest { binds: vec![Bind::read_only(repo.path(), "/isar-apt")], ..unbound };
    apply(&tree, &bound).unwrap();
    assert_eq!(tree.package("tool"), "installed 1.0");
    assert!(!tree.exists("isar-apt"));
}

fn keeps_archives() {
    let tree = Tree::copy();
    let repo = repo();
    // as if it had been fetched before: apt takes it from there, whatever the repository is
    let request = TransactionRequest {
        add: add(&["other"]),
        repos: vec![repo.path().into()],
        keep_debs: true,
        ..request()
    };
    let cached = tree.path.join("var/cache/apt/archives/other_2.0_all.deb");
    fs::copy(repo.path().join("other_2.0_all.deb"), &cached).unwrap();
    apply(&tree, &request).unwrap();
    assert!(cached.exists(), "it stays");
}

fn repository_is_gone() {
    let tree = Tree::overlay();
    let repo = repo();
    fs::remove_file(repo.path().join("other_2.0_all.deb")).unwrap();
    let request = TransactionRequest { add: add(&["other"]), repos: vec![repo.path().into()], ..request() };
    let error = apply(&tree, &request).unwrap_err();
    assert_ne!(error.exit_code(), 1, "{error}");
    assert!(error.to_string().contains("other_2.0_all.deb"), "{error}");
    assert_eq!(tree.package("other"), "");
    // one that nobody has signed
    tree.write("etc/apt/sources.list.d/x.list", "deb file:///isar-apt ./\n", 0o644);
    let bind = Bind::read_only(repo.path(), "/isar-apt");
    let error = plan(&tree, &TransactionRequest { binds: vec![bind], ..self::request() }).unwrap_err();
    assert_eq!((error.kind(), error.exit_code()), ("repository-unsigned", 4), "{error}");
    // a mirror that does not exist
    tree.write("etc/apt/sources.list", "deb http://127.0.0.1:9/debian bookworm main\n", 0o644);
    let wanted = TransactionRequest { add: add(&["nano"]), ..Default::default() };
    let error = plan(&tree, &wanted).unwrap_err();
    assert_eq!((error.kind(), error.exit_code()), ("network", 8), "{error}");
    // nobody is asked for what goes
    let remove =
        |name: &str| plan(&tree, &TransactionRequest { remove: vec![name.into()], ..Default::default() });
    assert_eq!(remove("perl").unwrap().refusals.len(), 1);
    // what is not there might be a name that nobody knows
    assert_eq!(remove("tool").unwrap_err().kind(), "network");
}

fn online_transaction() {
    let tree = Tree::copy();
    let request = TransactionRequest { add: add(&["nano"]), keep_debs: true, ..Default::default() };
    let report = apply(&tree, &request).unwrap();
    assert!(report.downloaded > 0);
    assert!(tree.package("nano").starts_with("installed "));
    assert!(
        fs::read_dir(tree.path.join("var/cache/apt/archives")).unwrap().any(|e| e
            .unwrap()
            .file_name()
            .to_str()
            .unwrap()
            .starts_with("nano_"))
    );
    let gone =
        TransactionRequest { remove: vec!["nano".into()], update: UpdateMode::Local, ..Default::default() };
    apply(&tree, &gone).unwrap();
    assert_eq!(tree.package("nano"), "");
}
