// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
use super::*;
use crate::system::of_files;

fn action(operation: Operation, package: &str) -> Action {
    Action::example(operation, package)
}

/// What is orphaned, and the notes; `incoming` is of the action with that number.
fn judged(tree: &Tree, actions: &[Action], incoming: &[(usize, &[&str])]) -> (Vec<String>, Vec<String>) {
    let outgoing = outgoing(tree, actions).unwrap();
    let incoming = incoming
        .iter()
        .map(|(number, files)| {
            (*number, Incoming { files: files.iter().map(PathBuf::from).collect(), ..Default::default() })
        })
        .collect();
    let recipes = BTreeMap::from([("foo-module".to_owned(), "foo".to_owned())]);
    let question =
        Question { outgoing: &outgoing, actions, incoming: &incoming, recipes: &recipes, staying: &[] };
    let impact = judge(tree, &question).unwrap();
    (impact.orphaned.iter().map(ToString::to_string).collect(), impact.notes)
}

fn kernels() -> (tempfile::TempDir, Tree) {
    of_files(&[
        ("var/lib/dpkg/info/linux-image-6.1.list", "/boot/vmlinuz-6.1\n/lib/modules/6.1/kernel/own.ko\n"),
        ("var/lib/dpkg/info/linux-image-own.list", "/boot/vmlinuz-6.6\n/lib/modules/6.6/modules.order\n"),
        (
            "var/lib/dpkg/info/foo-module.list",
            "/lib/modules/6.1/extra/foo.ko\n/lib/modules/6.6/extra/foo.ko\n",
        ),
        ("var/lib/dpkg/info/bar-dkms.list", "/usr/src/bar-1.0/dkms.conf\n"),
        ("usr/lib/modules/6.1/kernel/own.ko", ""),
        ("usr/lib/modules/6.1/extra/foo.ko", ""),
        ("usr/lib/modules/6.1/updates/dkms/bar.ko.xz", ""),
        ("usr/lib/modules/6.1/updates/stray.ko", ""),
        ("usr/lib/modules/6.6/extra/foo.ko", ""),
        ("var/lib/dkms/bar/1.0/6.1/x86_64/module/bar.ko.xz", ""),
        ("lib", "-> usr/lib"),
    ])
}

/// What it is about, the actions, the files of packages that come by the number of their action, and the orphans.
type Case<'a> = (&'a str, Vec<Action>, Vec<(usize, &'a [&'a str])>, Vec<&'a str>);

#[test]
fn modules_without_a_kernel_are_found() {
    use Operation::*;
    let (_dir, tree) = kernels();
    let foo = "/usr/lib/modules/6.1/extra/foo.ko of 'foo-module' (recipe 'foo')";
    let bar = "/usr/lib/modules/6.1/updates/dkms/bar.ko.xz of 'bar-dkms'";
    let stray = "/usr/lib/modules/6.1/updates/stray.ko of no package";
    let own = "/usr/lib/modules/6.6/extra/foo.ko of 'foo-module' (recipe 'foo')";
    let (gone, removed) = ("linux-image-6.1", |package: &str| action(Remove, package));
    let table: [Case<'_>; 8] = [
        ("removed", vec![removed(gone)], vec![], vec![foo, bar, stray]),
        ("with a module", vec![removed(gone), removed("foo-module")], vec![], vec![bar, stray]),
        ("with all", vec![removed(gone), removed("foo-module"), removed("bar-dkms")], vec![], vec![stray]),
        ("with a newer module", vec![removed(gone), action(Upgrade, "foo-module")], vec![], vec![bar, stray]),
        (
            "with a newer module for the same kernel",
            vec![removed(gone), action(Upgrade, "foo-module")],
            vec![(1, &["/usr/lib/modules/6.1/extra/foo.ko"])],
            vec![foo, bar, stray],
        ),
        (
            "replaced by the same kernel",
            vec![removed(gone), action(Install, "linux-image-6.1-unsigned")],
            vec![],
            vec![],
        ),
        (
            "another kernel by the same name",
            vec![action(Upgrade, "linux-image-own")],
            vec![(0, &["/boot/vmlinuz-6.7"])],
            vec![own],
        ),
        (
            "the same kernel",
            vec![action(Upgrade, "linux-image-own")],
            vec![(0, &["/boot/vmlinuz-6.6"])],
            vec![],
        ),
    ];
    for (what, actions, incoming, expected) in table {
        let (orphaned, notes) = judged(&tree, &actions, &incoming);
        assert_eq!(orphaned, expected, "{what}");
        assert_eq!(notes.len(), usize::from(what == "the same kernel"), "{what}: {notes:?}");
    }
}

#[test]
fn orphans_are_refused_by_kernel() {
    let orphan = |module: &str, package: Option<&str>| OrphanedModule {
        kernel_package: "linux-image-6.1".into(),
        kernel: "6.1".into(),
        module: module.into(),
        package: package.map(str::to_owned),
        recipe: None,
        dkms: None,
    };
    let impact = Impact {
        orphaned: vec![orphan("/m/a.ko", Some("foo")), orphan("/m/b.ko", None)],
        ..Default::default()
    };
    let refusals = impact.refusals(&[]);
    assert_eq!(refusals.len(), 1);
    assert_eq!(
        refusals[0].to_string(),
        "'linux-image-6.1': takes kernel 6.1 away from modules that were built for it: /m/a.ko of 'foo', /m/b.ko of no package"
    );
    assert!(refusals[0].way_out.contains("--remove foo"), "{}", refusals[0].way_out);
    assert!(refusals[0].way_out.ends_with("--allow-orphaned-modules linux-image-6.1"));
    assert!(impact.refusals(&["linux-image-6.1".to_owned()]).is_empty());
}
