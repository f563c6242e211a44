// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Opening the store and reading its trees

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};
use template_bundle::error::IoContext;
use template_bundle::manifest::{Component, Part, TemplateManifest, Tree};
use template_bundle::stack::stack;
use template_bundle::toc::{Entry, Toc};
use template_bundle::{Digest, Error, Kind, Result, ids};

use crate::files::{list_dir, make_top, read_file, read_text, unreadable, write_file};
use crate::find::RECORD;
use crate::lock::{Lock, Mode};
use crate::place;
use crate::scratch;

/// The layout that is written and read.
const FORMAT: &str = "isar-template store 0\n";

/// What a store consists of, and who may enter it: trees hold files of all users, and setuid ones.
const DIRECTORIES: [(&str, u32); 7] = [
    ("templates", 0o755),
    ("refs", 0o755),
    ("roots", 0o755),
    ("trees", 0o700),
    ("objects", 0o700),
    ("results", 0o700),
    ("tmp", 0o700),
];

/// In the store of an ordinary user: which ids stand for those of its files.
const IDS: &str = "ids";

/// The lock between those who add to the store, which several may do at once, and the one who removes from it.
const GATE: &str = "gate.lock";

/// The table of contents in the directory of a tree: without it there is no tree.
pub(crate) const TOC: &str = "toc";

/// A store on disk.
pub struct Store {
    path: PathBuf,
}

/// The store holds other users' and setuid files: it is made and read by root alone, if only by root of a user namespace.
pub fn require_root(what: &str) -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Error::new(
        Kind::Privilege,
        format!("{what} needs root: owners, devices and capabilities of files are set and read"),
    )
    .hint("run it with sudo; verify, sign, inspect and diff of bundles work without"))
}

impl Store {
    /// Opens a store, making it if it is not there.
    pub fn create(path: &Path) -> Result<Store> {
        require_root("making or changing the store")?;
        refuse_file(path)?;
        let new = !path.exists();
        make_top(path)?;
        if path.join("format").exists() {
            check_ids(path)?;
        } else {
            refuse_foreign(path)?;
        }
        for (name, mode) in DIRECTORIES {
            let dir = path.join(name);
            match fs::DirBuilder::new().mode(mode).create(&dir) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => check_dir(&dir, mode)?,
                Err(e) => return Err(Error::io("creating store", dir, e)),
            }
        }
        let format = path.join("format");
        if !format.exists() {
            let store = Store { path: path.to_path_buf() };
            let suits =
                scratch::Scratch::new(&store.tmp()).and_then(|files| place::check(path, files.path()));
            suits.inspect_err(|_| store.take_back(new))?;
            let _adding = store.lock_adding(&mut || Ok(()))?;
            if let Some(map) = ids::map() {
                write_file(&store.tmp(), &path.join(IDS), format!("{map}\n").as_bytes())?;
            }
            write_file(&store.tmp(), &format, FORMAT.as_bytes())?;
        }
        Store::open(path)
    }

    /// Leaves nothing where a store cannot be. Others may be at it, too: what is not empty stays.
    fn take_back(&self, new: bool) {
        for (name, _) in DIRECTORIES {
            let _ = fs::remove_dir(self.path.join(name));
        }
        if new {
            let _ = fs::remove_dir(&self.path);
        }
    }

    /// Opens a store that exists.
    pub fn open(path: &Path) -> Result<Store> {
        refuse_file(path)?;
        let format = path.join("format");
        match read_text(&format) {
            Ok(text) if text == FORMAT => {
                check_ids(path)?;
                Ok(Store { path: path.to_path_buf() })
            }
            Ok(text) => Err(Error::new(
                Kind::Unsupported,
                format!(
                    "store '{}' has format '{}', only '{}' is known",
                    path.display(),
                    text.trim().escape_debug(),
                    FORMAT.trim()
                ),
            )
            .hint("use a helper of the version that made it, or another --store")),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                Err(Error::new(Kind::NotFound, format!("there is no store at '{}'", path.display()))
                    .hint("import makes one; --store or ISAR_TEMPLATE_STORE names another place"))
            }
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                Err(Error::new(Kind::Privilege, format!("reading store '{}': {e}", path.display()))
                    .hint("run it with sudo"))
            }
            Err(e) => Err(Error::io("reading store", format, e)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is on a medium that cannot be written to.
    fn is_read_only(&self) -> bool {
        access(&self.tmp(), AccessFlags::W_OK) == Err(Errno::EROFS)
    }

    /// Takes a lock that keeps others from removing something; none where nobody can.
    pub(crate) fn held<L>(&self, lock: impl FnOnce() -> Result<L>) -> Result<Option<L>> {
        if self.is_read_only() { Ok(None) } else { lock().map(Some) }
    }

    fn require_writable(&self) -> Result<()> {
        if !self.is_read_only() {
            return Ok(());
        }
        let path = self.path.display();
        Err(Error::new(Kind::Io, format!("store '{path}' cannot be written to: its file system is read-only")).hint(
            "list, inspect, checkout, diff and fsck read it as it is; for the rest mount it for writing, or import into \
             another one with --store",
        ))
    }

    pub(crate) fn tmp(&self) -> PathBuf {
        self.path.join("tmp")
    }

    pub(crate) fn refs(&self) -> PathBuf {
        self.path.join("refs")
    }

    pub(crate) fn roots(&self) -> PathBuf {
        self.path.join("roots")
    }

    pub(crate) fn template_dir(&self, digest: &Digest) -> PathBuf {
        self.path.join("templates").join(digest.hex())
    }

    /// Whether a template was imported completely.
    pub(crate) fn is_recorded(&self, digest: &Digest) -> bool {
        self.template_dir(digest).join(RECORD).exists()
    }

    /// The same table of contents makes another tree of what lies over one, where whiteouts have a meaning. It is called by what
    /// was the first of its kind.
    pub(crate) fn tree_dir(&self, part: Part, tree: &Tree) -> PathBuf {
        let suffix = if part.is_over() { "-finish" } else { "" };
        self.path.join("trees").join(format!("{}{suffix}", tree.toc_digest.hex()))
    }

    pub(crate) fn object(&self, key: &Digest) -> PathBuf {
        let hex = key.hex();
        self.path.join("objects").join(&hex[..2]).join(&hex[2..])
    }

    /// A place for something that is being made. What the dead have left goes at the same time.
    pub fn scratch(&self) -> Result<scratch::Scratch> {
        self.require_writable()?;
        place::check_overlay(&self.path)?;
        scratch::sweep(&self.tmp())?;
        scratch::Scratch::new(&self.tmp())
    }

    /// Waits until nobody else imports this template. `waiting` is called now and then, and may end it.
    pub(crate) fn lock_import(
        &self,
        digest: &Digest,
        waiting: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Lock> {
        let path = self.tmp().join(format!("import-{}.lock", digest.hex()));
        Lock::wait(&path, Mode::Exclusive, waiting)
    }

    /// Waits until nothing is being removed. As long as the lock is held, nothing will be: what an import found in the
    /// store, or has named there, is still there when the template gets its name.
    pub(crate) fn lock_adding(&self, waiting: &mut dyn FnMut() -> Result<()>) -> Result<Lock> {
        self.require_writable()?;
        Lock::wait(&self.tmp().join(GATE), Mode::Shared, waiting)
    }

    /// Waits until nothing is being added.
    pub(crate) fn lock_removing(&self, waiting: &mut dyn FnMut() -> Result<()>) -> Result<Lock> {
        self.require_writable()?;
        Lock::wait(&self.tmp().join(GATE), Mode::Exclusive, waiting)
    }

    /// Waits until nobody else makes or links the copy of a tree that checkouts share.
    pub(crate) fn lock_shared(&self, tree: &Tree, waiting: &mut dyn FnMut() -> Result<()>) -> Result<Lock> {
        let path = self.tmp().join(format!("share-{}.lock", tree.toc_digest.hex()));
        Lock::wait(&path, Mode::Exclusive, waiting)
    }

    /// The lock of those who read the trees of a template.
    pub(crate) fn use_lock(&self, digest: &Digest) -> PathBuf {
        self.tmp().join(format!("use-{}.lock", digest.hex()))
    }

    /// The pristine tree. It serves as a lower directory of overlays and must never be written to.
    pub fn tree_root(&self, part: Part, tree: &Tree) -> Result<PathBuf> {
        let root = self.tree_dir(part, tree).join("root");
        match fs::metadata(&root) {
            Ok(_) => Ok(root),
            Err(e) => Err(unreadable(&root, e)),
        }
    }

    /// The trees that make up a component, the uppermost first, as overlayfs wants them; finished unless `raw`.
    pub fn lowers(&self, component: &Component, raw: bool) -> Result<Vec<PathBuf>> {
        let mut lowers: Vec<PathBuf> =
            component.parts_of(raw).map(|(part, tree)| self.tree_root(part, tree)).collect::<Result<_>>()?;
        lowers.reverse();
        Ok(lowers)
    }

    /// The table of contents of a tree.
    pub fn toc(&self, part: Part, tree: &Tree) -> Result<Toc> {
        let path = self.tree_dir(part, tree).join(TOC);
        let bytes = read_file(&path).map_err(|e| unreadable(&path, e))?;
        let found = Digest::of(&bytes);
        if found != tree.toc_digest {
            return Err(Error::damaged(format!("store: '{}' has digest {found}", path.display()))
                .hint("the store is damaged: import the bundle again"));
        }
        Toc::read(&bytes[..])
    }

    /// Digests of the blobs of trees that are here already: an import needs them no more.
    pub fn blobs_of_trees(&self, manifest: &TemplateManifest) -> BTreeSet<Digest> {
        let trees = manifest.components.iter().flat_map(Component::parts);
        trees
            .filter(|(part, tree)| self.has_tree(*part, tree))
            .flat_map(|(_, tree)| [tree.digest, tree.toc_digest])
            .collect()
    }

    /// Whether a tree is there with its table of contents. Its files are not looked at.
    pub(crate) fn has_tree(&self, part: Part, tree: &Tree) -> bool {
        let dir = self.tree_dir(part, tree);
        dir.join("root").is_dir()
            && read_file(&dir.join(TOC)).is_ok_and(|bytes| Digest::of(&bytes) == tree.toc_digest)
    }

    /// The entries of a component; finished unless `raw`.
    pub fn entries(&self, component: &Component, raw: bool) -> Result<Vec<(Entry, PathBuf)>> {
        let mut tocs = Vec::new();
        let mut roots = Vec::new();
        for (part, tree) in component.parts_of(raw) {
            roots.push(self.tree_root(part, tree)?);
            tocs.push(self.toc(part, tree)?);
        }
        let stacked = stack(tocs.iter().map(|toc| &toc.entries[..]))?;
        Ok(stacked.into_iter().map(|(entry, number)| (entry, roots[number].clone())).collect())
    }
}

fn refuse_file(path: &Path) -> Result<()> {
    match fs::metadata(path) {
        Ok(meta) if !meta.is_dir() => {
            Err(Error::usage(format!("'{}' is a file, and a store is a directory", path.display()))
                .hint("name a directory with --store or ISAR_TEMPLATE_STORE"))
        }
        _ => Ok(()),
    }
}

/// The store must be as closed as it was made: setuid files and files of other users are in it.
fn check_dir(dir: &Path, mode: u32) -> Result<()> {
    let meta = fs::symlink_metadata(dir).doing("reading", dir)?;
    let open = meta.mode() & 0o777 & !mode;
    if meta.is_dir() && meta.uid() == 0 && open == 0 {
        return Ok(());
    }
    Err(Error::new(
        Kind::Refused,
        format!("'{}' of the store is open to other users, or theirs", dir.display()),
    )
    .hint(format!("chown root '{0}' && chmod {mode:o} '{0}', if nobody has meddled with it", dir.display())))
}

/// Whether there is a store that an ordinary user has made.
pub fn is_of_a_user(path: &Path) -> bool {
    path.join(IDS).exists()
}

/// Files of root's store have owners that those of an ordinary user cannot have, and the other way round. Who is neither
/// root nor in a user namespace reads documents only.
fn check_ids(path: &Path) -> Result<()> {
    let file = path.join(IDS);
    let noted = match fs::read_to_string(&file) {
        Ok(text) => Some(text.trim().to_owned()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(Error::io("reading", file, e)),
    };
    let now = ids::map().map(ToString::to_string);
    if noted == now || (now.is_none() && !nix::unistd::geteuid().is_root()) {
        return Ok(());
    }
    let (what, hint) = match (noted, now) {
        (None, _) => ("was made by root".to_owned(), "run it with sudo, or use a --store of your own"),
        (_, None) => (
            "was made without root, by an ordinary user".to_owned(),
            "run it as that user, without sudo, or use another --store",
        ),
        (Some(then), Some(now)) => (
            format!("was made with other ids than you have now ({then}; now {now})"),
            "restore the lines of /etc/subuid and /etc/subgid, or use another --store and import again",
        ),
    };
    Err(Error::new(Kind::Privilege, format!("store '{}' {what}", path.display())).hint(hint))
}

/// A directory with something else in it is not taken over.
fn refuse_foreign(path: &Path) -> Result<()> {
    let ours = |name: &String| {
        // somebody else may be making it at this moment
        ["lost+found", "format", IDS].contains(&name.as_str())
            || DIRECTORIES.iter().any(|(ours, _)| ours == name)
    };
    match list_dir(path)?.iter().find(|name| !ours(name)) {
        None => Ok(()),
        Some(name) => Err(Error::usage(format!(
            "'{}' is no store, and not empty: it has '{}'",
            path.display(),
            name.escape_debug()
        ))
        .hint("give an empty directory, or one that does not exist, with --store")),
    }
}
