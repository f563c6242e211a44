// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Opening the store and finding templates in it

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use template_bundle::error::IoContext;
use template_bundle::manifest::{Component, TemplateManifest, Tree};
use template_bundle::names;
use template_bundle::toc::{Entry, Toc};
use template_bundle::{Digest, Error, Kind, Result};

use crate::scratch;

/// The layout that is written and read.
const FORMAT: &str = "isar-template store 0\n";

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
        fs::create_dir_all(path).doing("creating store", path)?;
        for (dir, mode) in
            [("templates", 0o755), ("refs", 0o755), ("trees", 0o700), ("objects", 0o700), ("tmp", 0o700)]
        {
            let dir = path.join(dir);
            match fs::DirBuilder::new().mode(mode).create(&dir) {
                Ok(()) => {}
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(Error::io("creating store", dir, e)),
            }
        }
        let format = path.join("format");
        if !format.exists() {
            write_file(path, &format, FORMAT.as_bytes())?;
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
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                Err(Error::new(Kind::NotFound, format!("there is no store at '{}'", path.display()))
                    .hint("import makes one; --store or ISAR_TEMPLATE_STORE names another place"))
            }
            Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
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

    pub(crate) fn tree_dir(&self, tree: &Tree) -> PathBuf {
        self.path.join("trees").join(tree.toc_digest.hex())
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

    /// Waits until nobody else imports this template.
    pub(crate) fn lock_import(&self, digest: &Digest) -> Result<Flock<File>> {
        let path = self.template_dir(digest).with_extension("lock");
        let file =
            File::options().create(true).truncate(false).write(true).open(&path).doing("locking", &path)?;
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| Error::io("locking", path, e))
    }

    /// Gives a template its name.
    pub(crate) fn set_ref(&self, manifest: &TemplateManifest, digest: &Digest) -> Result<()> {
        let dir = self.path.join("refs").join(&manifest.name);
        fs::create_dir_all(&dir).doing("creating", &dir)?;
        write_file(&self.tmp(), &dir.join(&manifest.template_version), format!("{digest}\n").as_bytes())
    }

    /// What a name and version mean at present.
    pub fn get_ref(&self, name: &str, version: &str) -> Result<Option<Digest>> {
        let path = self.path.join("refs").join(name).join(version);
        match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().map(Some).map_err(|e: Error| e.within(path.display())),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("reading", path, e)),
        }
    }

    /// Reads a template by its digest.
    pub fn get(&self, digest: &Digest) -> Result<Option<Stored>> {
        let dir = self.template_dir(digest);
        let read = |name: &str| fs::read(dir.join(name));
        let record = match read("record.json") {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io("reading", dir, e)),
        };
        let record: Record = serde_json::from_slice(&record)
            .map_err(|e| Error::damaged(format!("store: {}: {e}", dir.display())))?;
        let manifest = TemplateManifest::parse(&read("manifest.json").doing("reading", &dir)?)
            .map_err(|e| e.within(format!("store: {}", dir.display())))?;
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
    pub fn tree_root(&self, tree: &Tree) -> Result<PathBuf> {
        let root = self.tree_dir(tree).join("root");
        match fs::metadata(&root) {
            Ok(_) => Ok(root),
            Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
                Err(Error::new(Kind::Privilege, format!("reading '{}': {e}", root.display()))
                    .hint("run it with sudo"))
            }
            Err(e) => Err(Error::damaged(format!("the store lacks tree {}: {e}", root.display()))
                .hint("import the bundle again")),
        }
    }

    /// The trees that make up a component, the uppermost first, as overlayfs wants them; finished unless `raw`.
    pub fn lowers(&self, component: &Component, raw: bool) -> Result<Vec<PathBuf>> {
        let finish = component.finish.as_ref().filter(|_| !raw);
        finish.into_iter().chain([&component.tree]).map(|tree| self.tree_root(tree)).collect()
    }

    /// The table of contents of a tree.
    pub fn toc(&self, tree: &Tree) -> Result<Toc> {
        let path = self.tree_dir(tree).join("toc");
        let bytes = fs::read(&path).doing("reading", &path)?;
        let found = Digest::of(&bytes);
        if found != tree.toc_digest {
            return Err(Error::damaged(format!("store: '{}' has digest {found}", path.display()))
                .hint("the store is damaged: import the bundle again"));
        }
        Toc::read(&bytes[..])
    }

    /// The entries of a component; finished unless `raw`.
    pub fn entries(&self, component: &Component, raw: bool) -> Result<Vec<(Entry, PathBuf)>> {
        let base = self.toc(&component.tree)?;
        let root = self.tree_root(&component.tree)?;
        match &component.finish {
            Some(finish) if !raw => {
                let finish_root = self.tree_root(finish)?;
                let merged = template_bundle::finish::merge(&base.entries, &self.toc(finish)?.entries)?;
                Ok(merged
                    .into_iter()
                    .map(|(entry, from)| match from {
                        template_bundle::finish::From::Base => (entry, root.clone()),
                        template_bundle::finish::From::Finish => (entry, finish_root.clone()),
                    })
                    .collect())
            }
            _ => Ok(base.entries.into_iter().map(|e| (e, root.clone())).collect()),
        }
    }
}

fn list_dir(dir: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
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
