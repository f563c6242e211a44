// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # OCI image layouts on disk
//!
//! A directory, or one uncompressed tar of it. Nothing in a layout is trusted: blobs are opened without following
//! symlinks, must be regular files of the declared size, and small ones are handed out only when their digest is right.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;

use crate::digest::{Digest, Hashing};
use crate::error::{Error, IoContext, Kind, Result};
use crate::oci::{Descriptor, Index, MAX_DOCUMENT, parse, to_bytes};
use crate::tree::differs;

/// The file that marks a layout, and its content.
const MARKER: (&str, &str) = ("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
/// More members than any bundle has; bounds the memory for the directory of a tar.
const MAX_MEMBERS: usize = 100_000;

/// A layout to read from.
pub struct Layout {
    path: PathBuf,
    place: Place,
}

enum Place {
    Directory(OwnedFd),
    /// Name to offset and size.
    Tar(Arc<File>, HashMap<String, (u64, u64)>),
}

/// A blob that is read from its beginning to its end, and no further.
pub struct Blob {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Blob {
    /// Bytes that are left.
    fn len(&self) -> u64 {
        self.end.saturating_sub(self.at)
    }
}

impl Read for Blob {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let want = buf.len().min(usize::try_from(self.len()).unwrap_or(usize::MAX));
        let n = self.file.read_at(&mut buf[..want], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// Why a path is no layout.
fn no_layout(path: &Path, why: &str) -> Error {
    Error::new(Kind::Damaged, format!("'{}' is no template bundle: {why}", path.display())).hint(
        "a bundle is an OCI image layout: a directory with oci-layout, index.json and blobs/, or a tar of it",
    )
}

impl Layout {
    /// Opens a layout.
    pub fn open(path: &Path) -> Result<Layout> {
        let meta = match fs::metadata(path) {
            Ok(meta) => meta,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::new(Kind::NotFound, format!("'{}' does not exist", path.display())));
            }
            Err(e) => return Err(Error::io("opening bundle", path, e)),
        };
        let place = if meta.is_dir() {
            Place::Directory(File::open(path).doing("opening bundle", path)?.into())
        } else if meta.is_file() {
            let file = File::open(path).doing("opening bundle", path)?;
            let members = list_tar(path, &file)?;
            Place::Tar(Arc::new(file), members)
        } else {
            return Err(no_layout(path, "it is neither a directory nor a file"));
        };
        let layout = Layout { path: path.to_path_buf(), place };
        let marker = layout.document(MARKER.0)?.ok_or_else(|| no_layout(path, "it has no oci-layout"))?;
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Marker {
            image_layout_version: String,
        }
        let marker: Marker = parse("oci-layout", &marker)?;
        if !marker.image_layout_version.starts_with("1.") {
            return Err(Error::new(
                Kind::Unsupported,
                format!(
                    "OCI layout version {} is not known, only 1.x is",
                    marker.image_layout_version.escape_debug()
                ),
            ));
        }
        Ok(layout)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `index.json`, which nobody signed.
    pub fn index(&self) -> Result<Index> {
        let bytes =
            self.document("index.json")?.ok_or_else(|| no_layout(&self.path, "it has no index.json"))?;
        parse("index.json", &bytes)
    }

    fn member(&self, name: &str) -> Result<Option<Blob>> {
        match &self.place {
            Place::Directory(dir) => {
                let path = self.path.join(name);
                // O_NONBLOCK: a FIFO must not make us wait
                let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
                let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
                let how = OpenHow::new().flags(flags).resolve(resolve);
                let irregular = |what: &str| Err(Error::damaged(format!("'{}' is {what}", path.display())));
                let file = match openat2(dir, name, how) {
                    Ok(fd) => File::from(fd),
                    Err(Errno::ENOENT) => return Ok(None),
                    Err(Errno::ELOOP) => return irregular("a symlink, or reached through one"),
                    Err(Errno::ENOTDIR) => return irregular("in something that is no directory"),
                    Err(Errno::ENXIO) => return irregular("not a regular file"),
                    Err(e) => return Err(Error::io("opening", path, e)),
                };
                let meta = file.metadata().doing("reading", &path)?;
                if !meta.is_file() {
                    return irregular("not a regular file");
                }
                Ok(Some(Blob { file: Arc::new(file), at: 0, end: meta.len() }))
            }
            Place::Tar(file, members) => {
                Ok(members.get(name).map(|(at, size)| Blob { file: file.clone(), at: *at, end: at + size }))
            }
        }
    }

    fn document(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(mut blob) = self.member(name)? else { return Ok(None) };
        if blob.len() > MAX_DOCUMENT {
            return Err(Error::damaged(format!("'{name}' is larger than {MAX_DOCUMENT} bytes")));
        }
        let mut bytes = Vec::new();
        blob.read_to_end(&mut bytes).doing("reading", self.path.join(name))?;
        Ok(Some(bytes))
    }

    /// Opens a blob for streaming. Its size is checked here, its digest must be checked by the reader.
    pub fn blob(&self, digest: &Digest, size: u64) -> Result<Blob> {
        let name = blob_name(digest);
        let blob = self.member(&name)?.ok_or_else(|| {
            Error::new(Kind::BlobMissing, format!("the bundle lacks blob {digest}"))
                .hint("the bundle is incomplete: fetch it again")
        })?;
        let found = blob.len();
        if found != size {
            return Err(Error::damaged(format!("blob {digest} has {found} bytes, {size} are declared"))
                .hint("the bundle was altered or damaged: fetch it again"));
        }
        Ok(blob)
    }

    /// Whether there is such a blob, of whatever content.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        matches!(self.member(&blob_name(digest)), Ok(Some(_)))
    }

    /// Reads a small blob and checks its digest.
    pub fn read(&self, what: &str, descriptor: &Descriptor) -> Result<Vec<u8>> {
        self.read_up_to(what, descriptor, MAX_DOCUMENT)
    }

    /// The same for one of another size.
    pub fn read_up_to(&self, what: &str, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>> {
        if descriptor.size > limit {
            return Err(Error::damaged(format!("{what} is larger than {limit} bytes")));
        }
        let mut bytes = Vec::new();
        self.blob(&descriptor.digest, descriptor.size)
            .map_err(|e| e.within(what))?
            .read_to_end(&mut bytes)
            .doing("reading", &self.path)?;
        let found = Digest::of(&bytes);
        if found != descriptor.digest {
            return Err(differs(what, &descriptor.digest, &found));
        }
        Ok(bytes)
    }
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn list_tar(path: &Path, file: &File) -> Result<HashMap<String, (u64, u64)>> {
    let mut archive = tar::Archive::new(file);
    let mut members = HashMap::new();
    let wrong = |e: std::io::Error| no_layout(path, &format!("it is not a tar archive: {e}"));
    for member in archive.entries_with_seek().map_err(wrong)? {
        let member = member.map_err(wrong)?;
        let name = String::from_utf8_lossy(&member.path_bytes()).trim_start_matches("./").to_string();
        match member.header().entry_type() {
            tar::EntryType::Directory => continue,
            tar::EntryType::Regular => {}
            other => {
                return Err(no_layout(path, &format!("member '{}' has type {other:?}", name.escape_debug())));
            }
        }
        if members.insert(name.clone(), (member.raw_file_position(), member.size())).is_some() {
            return Err(no_layout(path, &format!("member '{}' occurs twice", name.escape_debug())));
        }
        if members.len() > MAX_MEMBERS {
            return Err(no_layout(path, "it has too many members"));
        }
    }
    Ok(members)
}

/// A layout that is being written: a directory that gets its final name, or becomes a tar, when it is complete.
pub struct Writer {
    dir: tempfile::TempDir,
    output: PathBuf,
}

impl Writer {
    /// Starts beside the output. An existing output is only replaced when it is finished.
    pub fn new(output: &Path) -> Result<Writer> {
        let parent = match output.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        if !parent.is_dir() {
            return Err(Error::new(
                Kind::NotFound,
                format!("directory '{}' does not exist", parent.display()),
            ));
        }
        if fs::symlink_metadata(output).is_ok() {
            return Err(Error::usage(format!("'{}' exists already", output.display()))
                .hint("remove it, or choose another name"));
        }
        let dir = tempfile::Builder::new()
            .prefix(".isar-template-")
            .tempdir_in(parent)
            .doing("creating", parent)?;
        fs::create_dir_all(dir.path().join("blobs/sha256")).doing("creating", dir.path())?;
        write_aside(&dir.path().join(MARKER.0), MARKER.1.as_bytes())?;
        Ok(Writer { dir, output: output.to_path_buf() })
    }

    /// Writes a small blob.
    pub fn add(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor> {
        add_blob(self.dir.path(), media_type, bytes)
    }

    /// Writes a blob whose digest is known only when it is written.
    pub fn stream<T>(&self, write: impl FnOnce(&mut dyn Write) -> Result<T>) -> Result<(T, Digest, u64)> {
        let blobs = self.dir.path().join("blobs/sha256");
        let mut temp = tempfile::NamedTempFile::new_in(&blobs).doing("creating", &blobs)?;
        let mut hashing = Hashing::new(std::io::BufWriter::with_capacity(1 << 20, temp.as_file_mut()));
        let result = write(&mut hashing)?;
        hashing.flush().doing("writing", &blobs)?;
        let (_, digest, size) = hashing.finish();
        keep(temp, &self.dir.path().join(blob_name(&digest)))?;
        Ok((result, digest, size))
    }

    /// Writes `index.json` and gives the layout its name.
    pub fn finish(self, index: &Index) -> Result<()> {
        write_index(self.dir.path(), index)?;
        let is_tar = self.output.extension().is_some_and(|e| e == "tar");
        if is_tar {
            let parent = self.dir.path().parent().unwrap_or(Path::new("."));
            let mut temp = tempfile::NamedTempFile::new_in(parent).doing("creating", parent)?;
            write_tar(self.dir.path(), temp.as_file_mut())?;
            keep(temp, &self.output)
        } else {
            sync_tree(self.dir.path())?;
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777 & !umask());
            fs::set_permissions(self.dir.path(), mode).doing("writing", self.dir.path())?;
            fs::rename(self.dir.path(), &self.output).doing("writing", &self.output)?;
            // the name is gone already, there is nothing left to remove
            let _ = self.dir.keep();
            sync_parent(&self.output)
        }
    }
}

/// Waits until nobody else adds to a layout. A tar is replaced by those who do, so it may be another one then.
fn lock(path: &Path) -> Result<Flock<File>> {
    loop {
        let file = File::open(path).doing("opening bundle", path)?;
        let held =
            Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| Error::io("locking", path, e))?;
        let identity = |meta: fs::Metadata| (meta.dev(), meta.ino());
        let ours = held.metadata().map(identity).doing("reading", path)?;
        if fs::metadata(path).map(identity).doing("reading", path)? == ours {
            return Ok(held);
        }
    }
}

/// Adds a blob and a line in `index.json` to a layout that exists (directory or tar).
pub fn append(path: &Path, blobs: &[Vec<u8>], update: impl FnOnce(&mut Index)) -> Result<()> {
    let _held = lock(path)?;
    let layout = Layout::open(path)?;
    let mut index = layout.index()?;
    update(&mut index);
    match layout.place {
        Place::Directory(_) => {
            for blob in blobs {
                add_blob(path, "", blob)?;
            }
            write_index(path, &index)
        }
        Place::Tar(..) => {
            let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let mut temp = tempfile::NamedTempFile::new_in(parent).doing("creating", parent)?;
            let bytes = to_bytes(&index)?;
            {
                let mut out =
                    tar::Builder::new(std::io::BufWriter::with_capacity(1 << 20, temp.as_file_mut()));
                tar_member(&mut out, MARKER.0, MARKER.1.len() as u64, MARKER.1.as_bytes())?;
                tar_member(&mut out, "index.json", bytes.len() as u64, &bytes[..])?;
                let mut names: Vec<String> = match &layout.place {
                    Place::Tar(_, members) => {
                        members.keys().filter(|n| n.starts_with("blobs/")).cloned().collect()
                    }
                    Place::Directory(_) => vec![],
                };
                names.sort();
                for name in &names {
                    if let Some(blob) = layout.member(name)? {
                        tar_member(&mut out, name, blob.len(), blob)?;
                    }
                }
                for blob in blobs {
                    let name = blob_name(&Digest::of(blob));
                    if !names.contains(&name) {
                        tar_member(&mut out, &name, blob.len() as u64, &blob[..])?;
                    }
                }
                out.into_inner().and_then(|mut w| w.flush()).doing("writing", path)?;
            }
            keep(temp, path)
        }
    }
}

fn add_blob(dir: &Path, media_type: &str, bytes: &[u8]) -> Result<Descriptor> {
    let digest = Digest::of(bytes);
    write_aside(&dir.join(blob_name(&digest)), bytes)?;
    Ok(Descriptor::new(media_type, digest, bytes.len() as u64))
}

/// The umask of this process.
pub fn umask() -> u32 {
    // the kernel has no other way to tell
    let umask = nix::sys::stat::umask(Mode::S_IRWXG | Mode::S_IRWXO);
    nix::sys::stat::umask(umask);
    umask.bits()
}

/// Syncs a finished temporary file and gives it its name. Who may read it is up to the umask, as for any new file.
pub fn keep(temp: tempfile::NamedTempFile, path: &Path) -> Result<()> {
    temp.as_file()
        .set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666 & !umask()))
        .doing("writing", path)?;
    temp.as_file().sync_all().doing("writing", path)?;
    temp.persist(path).map_err(|e| Error::io("writing", path, e.error))?;
    sync_parent(path)
}

fn write_aside(path: &Path, bytes: &[u8]) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut temp = tempfile::NamedTempFile::new_in(dir).doing("creating", dir)?;
    temp.write_all(bytes).doing("writing", path)?;
    keep(temp, path)
}

fn write_index(dir: &Path, index: &Index) -> Result<()> {
    write_aside(&dir.join("index.json"), &to_bytes(index)?)
}

/// Makes a new name durable.
fn sync_parent(path: &Path) -> Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|d| d.sync_all()).doing("syncing", parent)
}

fn sync_tree(dir: &Path) -> Result<()> {
    for sub in ["blobs/sha256", "blobs", ""] {
        let path = dir.join(sub);
        File::open(&path).and_then(|d| d.sync_all()).doing("writing", &path)?;
    }
    Ok(())
}

fn write_tar(dir: &Path, out: &mut File) -> Result<()> {
    let mut out = tar::Builder::new(std::io::BufWriter::with_capacity(1 << 20, out));
    let mut names: Vec<String> = fs::read_dir(dir.join("blobs/sha256"))
        .and_then(|entries| entries.map(|e| e.map(|e| e.file_name())).collect::<Result<Vec<_>, _>>())
        .doing("reading", dir)?
        .iter()
        .map(|name| format!("blobs/sha256/{}", name.to_string_lossy()))
        .collect();
    names.sort();
    for name in [MARKER.0.to_string(), "index.json".to_string()].into_iter().chain(names) {
        let path = dir.join(&name);
        let file = File::open(&path).doing("reading", &path)?;
        let size = file.metadata().doing("reading", &path)?.len();
        tar_member(&mut out, &name, size, file)?;
    }
    out.into_inner().and_then(|mut w| w.flush()).doing("writing", dir)
}

fn tar_member(out: &mut tar::Builder<impl Write>, name: &str, size: u64, content: impl Read) -> Result<()> {
    let mut head = tar::Header::new_ustar();
    head.set_size(size);
    head.set_mode(0o644);
    head.set_mtime(0);
    head.set_entry_type(tar::EntryType::Regular);
    head.set_uid(0);
    head.set_gid(0);
    out.append_data(&mut head, name, content).doing("writing", name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_hold_the_same_and_can_be_added_to() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["layout", "layout.tar"] {
            let path = dir.path().join(name);
            let writer = Writer::new(&path).unwrap();
            let mut descriptor = writer.add("text/plain", b"hello").unwrap();
            writer.finish(&Index::new()).unwrap();
            append(&path, &[b"more".to_vec()], |index| index.manifests.push(descriptor.clone())).unwrap();
            let layout = Layout::open(&path).unwrap();
            assert_eq!(layout.index().unwrap().manifests.len(), 1);
            assert_eq!(layout.read("greeting", &descriptor).unwrap(), b"hello");
            assert!(layout.has_blob(&Digest::of(b"more")));
            descriptor.size = 4;
            assert_eq!(layout.read("greeting", &descriptor).unwrap_err().kind, Kind::Damaged);
            assert_eq!(layout.blob(&Digest::of(b"x"), 1).err().unwrap().kind, Kind::BlobMissing);
            assert_eq!(Writer::new(&path).err().unwrap().kind, Kind::Usage);
        }
    }

    #[test]
    fn symlinks_and_fifos_in_a_layout_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("layout");
        Writer::new(&path).unwrap().finish(&Index::new()).unwrap();
        let digest = Digest::of(b"x");
        let blob = path.join(blob_name(&digest));
        std::os::unix::fs::symlink("/etc/passwd", &blob).unwrap();
        assert_eq!(Layout::open(&path).unwrap().blob(&digest, 1).err().unwrap().kind, Kind::Damaged);
        fs::remove_file(&blob).unwrap();
        nix::unistd::mkfifo(&blob, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(Layout::open(&path).unwrap().blob(&digest, 1).err().unwrap().kind, Kind::Damaged);
    }
}
