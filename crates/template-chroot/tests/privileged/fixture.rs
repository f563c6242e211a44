// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Trees, packages and repositories, made by code

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use sha2::{Digest, Sha256};
use tempfile::TempDir;
use template_chroot::overlay::Merged;
use template_chroot::{Root, Sandbox};

/// The tree of the test run.
pub fn base() -> PathBuf {
    std::env::var("ISAR_TEMPLATE_TEST_TREE").unwrap().into()
}

/// Where copies are made: beside the tree, so that they can be cheap.
pub fn scratch() -> TempDir {
    let base = base();
    tempfile::tempdir_in(base.parent().unwrap()).unwrap()
}

/// Something to write to that looks like the tree.
pub struct Tree {
    dir: Option<TempDir>,
    root: Root,
    /// Of a copy.
    pub path: PathBuf,
    clean: bool,
}

static POOL: Mutex<Vec<Tree>> = Mutex::new(Vec::new());

impl Drop for Tree {
    fn drop(&mut self) {
        if self.clean && !std::thread::panicking() {
            // what a killed run has left, the next one takes away
            Sandbox::new(self.root.clone()).capture(&["true"]).unwrap();
            let dir = self.dir.take();
            POOL.lock().unwrap().push(Self {
                dir,
                root: self.root.clone(),
                path: self.path.clone(),
                clean: true,
            });
        }
    }
}

/// Takes away what is kept for further tests.
pub fn empty_pool() {
    for mut tree in std::mem::take(&mut *POOL.lock().unwrap()) {
        tree.clean = false;
        drop(tree);
    }
}

impl Tree {
    /// A copy, to be written in place.
    pub fn copy() -> Self {
        let dir = scratch();
        let path = dir.path().join("tree");
        run(Command::new("cp").args(["-a", "--reflink=auto"]).arg(base()).arg(&path));
        Self { dir: Some(dir), root: Root::Tree(path.clone()), path, clean: false }
    }

    /// A copy for a test that leaves it as it was: the next one gets it again.
    pub fn clean() -> Self {
        let pooled = POOL.lock().unwrap().pop();
        pooled.unwrap_or_else(|| {
            let mut tree = Self::copy();
            tree.clean = true;
            tree
        })
    }

    /// An overlay: much cheaper.
    pub fn overlay() -> Self {
        let overlay = Overlay::new();
        let root = overlay.root();
        Self { dir: Some(overlay.dir), root, path: PathBuf::new(), clean: false }
    }

    pub fn root(&self) -> Root {
        self.root.clone()
    }

    fn see<T>(&self, look: impl FnOnce(&Path) -> T) -> T {
        look(Merged::of(&self.root).unwrap().path())
    }

    pub fn snapshot(&self) -> Snapshot {
        self.see(snapshot)
    }

    pub fn exists(&self, path: &str) -> bool {
        self.see(|root| fs::symlink_metadata(root.join(path)).is_ok())
    }

    pub fn read(&self, path: &str) -> String {
        self.see(|root| fs::read_to_string(root.join(path)).unwrap())
    }

    pub fn write(&self, path: &str, text: &str, mode: u32) {
        self.see(|root| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        });
    }

    /// Status and version of a package, as dpkg has them; empty if it is not there.
    pub fn package(&self, name: &str) -> String {
        let status = self.read("var/lib/dpkg/status");
        let Some(stanza) =
            status.split("\n\n").find(|s| s.trim_start().starts_with(&format!("Package: {name}\n")))
        else {
            return String::new();
        };
        let get = |field: &str| {
            stanza.lines().find_map(|l| l.strip_prefix(field)).unwrap_or_default().trim().to_owned()
        };
        let state = get("Status:").rsplit(' ').next().unwrap().to_owned();
        if state == "not-installed" { String::new() } else { format!("{state} {}", get("Version:")) }
    }
}

/// What a tree consists of, by path.
pub type Snapshot = BTreeMap<PathBuf, String>;

/// An overlay over the tree.
pub struct Overlay {
    dir: TempDir,
}

impl Overlay {
    pub fn new() -> Self {
        let dir = scratch();
        fs::create_dir(dir.path().join("upper")).unwrap();
        fs::create_dir(dir.path().join("work")).unwrap();
        Self { dir }
    }

    pub fn root(&self) -> Root {
        Root::Overlay { lowers: vec![base()], upper: self.upper(), work: self.dir.path().join("work") }
    }

    pub fn upper(&self) -> PathBuf {
        self.dir.path().join("upper")
    }
}

/// Everything of a tree but access times: mode, owner, size, modification time, link target by path.
pub fn snapshot(root: &Path) -> Snapshot {
    let mut found = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let m = fs::symlink_metadata(&path).unwrap();
        let link = fs::read_link(&path).unwrap_or_default();
        let line = format!(
            "{:o} {} {} {} {}.{} {}",
            m.mode(),
            m.uid(),
            m.gid(),
            if m.is_dir() { 0 } else { m.size() },
            m.mtime(),
            m.mtime_nsec(),
            link.display()
        );
        found.insert(path.strip_prefix(root).unwrap().to_owned(), line);
        if m.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        }
    }
    found
}

/// What two snapshots differ in.
pub fn difference(a: &Snapshot, b: &Snapshot) -> Vec<String> {
    let paths: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
    paths
        .into_iter()
        .filter(|p| a.get(*p) != b.get(*p))
        .map(|p| format!("{}: {:?} -> {:?}", p.display(), a.get(p), b.get(p)))
        .collect()
}

/// A package to be made.
pub struct Deb {
    control: Vec<(&'static str, String)>,
    files: Vec<(String, String, u32)>,
}

impl Deb {
    pub fn new(name: &str, version: &str) -> Self {
        let control = [
            ("Package", name),
            ("Version", version),
            ("Architecture", "all"),
            ("Maintainer", "The isar-template authors <root@localhost>"),
            ("Description", "made for a test"),
        ];
        Self { control: control.map(|(k, v)| (k, v.to_owned())).into(), files: Vec::new() }
    }

    pub fn field(mut self, name: &'static str, value: &str) -> Self {
        self.control.retain(|(k, _)| *k != name);
        self.control.push((name, value.to_owned()));
        self
    }

    pub fn file(mut self, path: &str, text: &str) -> Self {
        self.files.push((path.to_owned(), text.to_owned(), 0o644));
        self
    }

    pub fn program(mut self, path: &str, text: &str) -> Self {
        self.files.push((path.to_owned(), text.to_owned(), 0o755));
        self
    }

    pub fn script(self, name: &str, body: &str) -> Self {
        self.program(&format!("DEBIAN/{name}"), &format!("#!/bin/sh\nset -e\n{body}\n"))
    }

    pub fn conffile(self, path: &str, text: &str) -> Self {
        self.file(path, text).file("DEBIAN/conffiles", &format!("/{path}\n"))
    }

    /// Makes it in `dir`, and returns its path.
    pub fn build(&self, dir: &Path) -> PathBuf {
        let staging = tempfile::tempdir().unwrap();
        let control: String = self.control.iter().map(|(k, v)| format!("{k}: {v}\n")).collect();
        let files = [("DEBIAN/control".to_owned(), control, 0o644)];
        for (path, text, mode) in files.iter().chain(&self.files) {
            let path = staging.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
        }
        fs::set_permissions(staging.path(), fs::Permissions::from_mode(0o755)).unwrap();
        run(Command::new("dpkg-deb").args(["--root-owner-group", "-b"]).arg(staging.path()).arg(dir));
        let get = |name: &str| self.control.iter().find(|(k, _)| *k == name).unwrap().1.clone();
        let version = get("Version");
        // dpkg-deb leaves out the epoch
        let version = version.split_once(':').map_or(version.as_str(), |(_, v)| v);
        dir.join(format!("{}_{}_{}.deb", get("Package"), version, get("Architecture")))
    }
}

/// A flat repository folder with these packages.
pub fn repository(debs: &[Deb]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for deb in debs {
        deb.build(dir.path());
    }
    index(dir.path());
    // as closed as a folder of somebody's home
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    dir
}

fn index(dir: &Path) {
    let mut packages = String::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let fields = Command::new("dpkg-deb").arg("-f").arg(&path).output().unwrap().stdout;
        let content = fs::read(&path).unwrap();
        packages.push_str(&format!(
            "{}Filename: ./{}\nSize: {}\nSHA256: {:x}\n\n",
            String::from_utf8(fields).unwrap(),
            path.file_name().unwrap().to_str().unwrap(),
            content.len(),
            Sha256::digest(&content)
        ));
    }
    fs::write(dir.join("Packages"), packages).unwrap();
}

pub fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Whether the first remote source of the tree can be reached; asked once.
pub fn online() -> bool {
    use std::sync::OnceLock;
    static ONLINE: OnceLock<bool> = OnceLock::new();
    *ONLINE.get_or_init(|| {
        let overlay = Overlay::new();
        let argv = ["apt-get", "-o", "Acquire::Retries=0", "-o", "APT::Update::Error-Mode=any", "update"];
        Sandbox::new(overlay.root())
            .network(true)
            .capture(&argv)
            .is_ok_and(|captured| captured.exit.success())
    })
}

/// Whether sudo is there and asks nothing.
pub fn sudo() -> bool {
    let status = Command::new("sudo").args(["-n", "true"]).status();
    status.is_ok_and(|status| status.success())
}
