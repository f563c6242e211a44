// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Opening the store and finding templates in it

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use template_bundle::error::IoContext;
use template_bundle::manifest::{Component, Part, TemplateManifest, Tree};
use template_bundle::names;
use template_bundle::toc::{Entry, Toc};
use template_bundle::{Digest, Error, Kind, Result};

use crate::scratch;

/// The layout that is written and read.
const FORMAT: &str = "isar-template store 0\n";

/// What a store consists of, and who may enter it: trees hold files of all users, and setuid ones.
const DIRECTORIES: [(&str, u32); 5] =
    [("templates", 0o755), ("refs", 0o755), ("trees", 0o700), ("objects", 0o700), ("tmp", 0o700)];

/// A store on disk.
pub struct Store {
    path: PathBuf,
}

/// What is noted about an imported template.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Version of this document.
    pub version: u32,
    /// Digest of the image index.
    pub digest: Digest,
    /// As whom the signer is trusted.
    pub signer: String,
    /// Fingerprint of the signing key.
    pub fingerprint: String,
    /// When it was imported, RFC 3339.
    pub imported: String,
}

/// A template in the store.
#[derive(Debug, Clone)]
pub struct Stored {
    /// What was noted at import.
    pub record: Record,
    /// The template manifest.
    pub manifest: TemplateManifest,
}

impl Stored {
    /// `NAME:VERSION`.
    pub fn reference(&self) -> String {
        format!("{}:{}", self.manifest.name, self.manifest.template_version)
    }
}

/// The store holds other users' and setuid files: it is made and read by root alone.
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
        make_dirs(path)?;
        if !path.join("format").exists() {
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
            write_file(&path.join("tmp"), &format, FORMAT.as_bytes())?;
        }
        Store::open(path)
    }

    /// Opens a store that exists.
    pub fn open(path: &Path) -> Result<Store> {
        let format = path.join("format");
        match fs::read_to_string(&format) {
            Ok(text) if text == FORMAT => Ok(Store { path: path.to_path_buf() }),
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

    pub(crate) fn tmp(&self) -> PathBuf {
        self.path.join("tmp")
    }

    pub(crate) fn template_dir(&self, digest: &Digest) -> PathBuf {
        self.path.join("templates").join(digest.hex())
    }

    /// The same table of contents makes another tree of a finish layer, where whiteouts have a meaning.
    pub(crate) fn tree_dir(&self, part: Part, tree: &Tree) -> PathBuf {
        let suffix = match part {
            Part::Base => "",
            Part::Finish => "-finish",
        };
        self.path.join("trees").join(format!("{}{suffix}", tree.toc_digest.hex()))
    }

    pub(crate) fn object(&self, key: &Digest) -> PathBuf {
        let hex = key.hex();
        self.path.join("objects").join(&hex[..2]).join(&hex[2..])
    }

    /// A place for something that is being made. What the dead have left goes at the same time.
    pub fn scratch(&self) -> Result<scratch::Scratch> {
        scratch::sweep(&self.tmp())?;
        scratch::Scratch::new(&self.tmp())
    }

    /// Waits until nobody else imports this template. `waiting` is called now and then, and may end it.
    pub(crate) fn lock_import(
        &self,
        digest: &Digest,
        waiting: &mut dyn FnMut() -> Result<()>,
    ) -> Result<scratch::Lock> {
        scratch::Lock::wait(&self.tmp().join(format!("import-{}.lock", digest.hex())), waiting)
    }

    /// Gives a template its name.
    pub(crate) fn set_ref(&self, manifest: &TemplateManifest, digest: &Digest) -> Result<()> {
        let refs = self.path.join("refs");
        let dir = refs.join(&manifest.name);
        make_dirs(&dir)?;
        sync_dir(&refs)?;
        write_file(&self.tmp(), &dir.join(&manifest.template_version), format!("{digest}\n").as_bytes())
    }

    /// What a name and version mean at present.
    pub fn get_ref(&self, name: &str, version: &str) -> Result<Option<Digest>> {
        let path = self.path.join("refs").join(name).join(version);
        match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().map(Some).map_err(|_| {
                Error::damaged(format!("store: '{}' holds no digest", path.display()))
                    .hint("the store is damaged: remove this file, and import the bundle again")
            }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("reading", path, e)),
        }
    }

    /// Reads a template by its digest.
    pub fn get(&self, digest: &Digest) -> Result<Option<Stored>> {
        let dir = self.template_dir(digest);
        let read = |name: &str| fs::read(dir.join(name));
        let record = match read("record.json") {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io("reading", dir, e)),
        };
        let record: Record = serde_json::from_slice(&record)
            .map_err(|e| Error::damaged(format!("store: {}: {e}", dir.display())))?;
        let bytes = read("manifest.json").map_err(|e| self.unreadable(&dir.join("manifest.json"), e))?;
        let manifest =
            TemplateManifest::parse(&bytes).map_err(|e| e.within(format!("store: {}", dir.display())))?;
        Ok(Some(Stored { record, manifest }))
    }

    /// Finds `NAME`, `NAME:VERSION`, or `sha256:…`; the newest version when none is given.
    pub fn find(&self, reference: &str) -> Result<Stored> {
        let missing = |what: String| {
            let all: Vec<String> = self.list().unwrap_or_default().iter().map(Stored::reference).collect();
            let hint = if all.is_empty() {
                "the store is empty: import a bundle first".to_string()
            } else {
                format!("it has {}", all.join(", "))
            };
            Error::new(Kind::NotFound, format!("{what} is not in store '{}'", self.path.display())).hint(hint)
        };
        if reference.starts_with("sha256:") {
            let digest: Digest = reference.parse()?;
            return self.get(&digest)?.ok_or_else(|| missing(format!("template {digest}")));
        }
        let (name, version) = names::parse_reference(reference)?;
        let version = match version {
            Some(version) => version.to_string(),
            None => self.versions(name)?.pop().ok_or_else(|| missing(format!("template '{name}'")))?,
        };
        let digest =
            self.get_ref(name, &version)?.ok_or_else(|| missing(format!("template '{name}:{version}'")))?;
        self.get(&digest)?.ok_or_else(|| missing(format!("template '{name}:{version}' ({digest})")))
    }

    /// Versions of a name, oldest first.
    fn versions(&self, name: &str) -> Result<Vec<String>> {
        let mut versions = list_dir(&self.path.join("refs").join(name))?;
        versions.sort_by(|a, b| names::compare_versions(a, b));
        Ok(versions)
    }

    /// All named templates, by name and version.
    pub fn list(&self) -> Result<Vec<Stored>> {
        let mut out = Vec::new();
        let mut all = list_dir(&self.path.join("refs"))?;
        all.sort();
        for name in all {
            for version in self.versions(&name)? {
                if let Some(digest) = self.get_ref(&name, &version)?
                    && let Some(stored) = self.get(&digest)?
                {
                    out.push(stored);
                }
            }
        }
        Ok(out)
    }

    /// The pristine tree. It serves as a lower directory of overlays and must never be written to.
    pub fn tree_root(&self, part: Part, tree: &Tree) -> Result<PathBuf> {
        let root = self.tree_dir(part, tree).join("root");
        match fs::metadata(&root) {
            Ok(_) => Ok(root),
            Err(e) => Err(self.unreadable(&root, e)),
        }
    }

    /// The trees that make up a component, the uppermost first, as overlayfs wants them; finished unless `raw`.
    pub fn lowers(&self, component: &Component, raw: bool) -> Result<Vec<PathBuf>> {
        let mut lowers: Vec<PathBuf> = component
            .parts()
            .filter(|(part, _)| !(raw && *part == Part::Finish))
            .map(|(part, tree)| self.tree_root(part, tree))
            .collect::<Result<_>>()?;
        lowers.reverse();
        Ok(lowers)
    }

    /// The table of contents of a tree.
    pub fn toc(&self, part: Part, tree: &Tree) -> Result<Toc> {
        let path = self.tree_dir(part, tree).join("toc");
        let bytes = fs::read(&path).map_err(|e| self.unreadable(&path, e))?;
        let found = Digest::of(&bytes);
        if found != tree.toc_digest {
            return Err(Error::damaged(format!("store: '{}' has digest {found}", path.display()))
                .hint("the store is damaged: import the bundle again"));
        }
        Toc::read(&bytes[..])
    }

    /// Whether a tree is there with its table of contents. Its files are not looked at.
    pub(crate) fn has_tree(&self, part: Part, tree: &Tree) -> bool {
        let dir = self.tree_dir(part, tree);
        dir.join("root").is_dir()
            && fs::read(dir.join("toc")).is_ok_and(|bytes| Digest::of(&bytes) == tree.toc_digest)
    }

    fn unreadable(&self, path: &Path, e: io::Error) -> Error {
        match e.kind() {
            io::ErrorKind::PermissionDenied => {
                Error::new(Kind::Privilege, format!("reading '{}': {e}", path.display()))
                    .hint("run it with sudo")
            }
            io::ErrorKind::NotFound => Error::damaged(format!("the store lacks '{}'", path.display()))
                .hint("the store is damaged: import the bundle again"),
            _ => Error::io("reading", path, e),
        }
    }

    /// The entries of a component; finished unless `raw`.
    pub fn entries(&self, component: &Component, raw: bool) -> Result<Vec<(Entry, PathBuf)>> {
        let base = self.toc(Part::Base, &component.tree)?;
        let root = self.tree_root(Part::Base, &component.tree)?;
        match &component.finish {
            Some(finish) if !raw => {
                let finish_root = self.tree_root(Part::Finish, finish)?;
                let toc = self.toc(Part::Finish, finish)?;
                let merged = template_bundle::finish::merge(&base.entries, &toc.entries)?;
                Ok(merged
                    .into_iter()
                    .map(|(entry, part)| match part {
                        Part::Base => (entry, root.clone()),
                        Part::Finish => (entry, finish_root.clone()),
                    })
                    .collect())
            }
            _ => Ok(base.entries.into_iter().map(|e| (e, root.clone())).collect()),
        }
    }
}

/// Makes a directory and those above it, for others to enter and not to write to, whatever the umask.
pub(crate) fn make_dirs(path: &Path) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path).doing("creating", path)
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

/// A directory with something else in it is not taken over.
fn refuse_foreign(path: &Path) -> Result<()> {
    let ours = |name: &String| name == "lost+found" || DIRECTORIES.iter().any(|(ours, _)| ours == name);
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

fn list_dir(dir: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(e) => return Err(Error::io("reading", dir, e)),
    };
    let mut out = Vec::new();
    for entry in entries {
        out.push(entry.doing("reading", dir)?.file_name().to_string_lossy().into_owned());
    }
    Ok(out)
}

/// Writes a small file: aside, synced, renamed.
pub(crate) fn write_file(tmp: &Path, path: &Path, content: &[u8]) -> Result<()> {
    let mut temp = tempfile::NamedTempFile::new_in(tmp).doing("creating", tmp)?;
    temp.write_all(content).doing("writing", path)?;
    temp.as_file().set_permissions(fs::Permissions::from_mode(0o644)).doing("writing", path)?;
    temp.as_file().sync_all().doing("writing", path)?;
    temp.persist(path).map_err(|e| Error::io("writing", path, e.error))?;
    sync_dir(path.parent().unwrap_or(Path::new("/")))
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|d| d.sync_all()).doing("syncing", dir)
}
