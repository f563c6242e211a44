// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # OCI image layouts on disk
//!
//! A directory, or one uncompressed tar of it. Nothing in a layout is trusted: blobs are opened without following
//! symlinks, must be regular files of the declared size, and small ones are handed out only when their digest is right.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use crate::digest::{Digest, Hasher};
use crate::error::{Error, IoContext, Kind, Result};
use crate::json::parse;
use crate::limits::{MAX_DOCUMENT, MAX_MEMBERS, MAX_PATH, MAX_UNSIGNED};
use crate::oci::{Descriptor, Index};
use crate::pack::Progress;
use crate::tarball::members::{Member, Members, Seekable, Source};
use crate::tree::differs;

/// The file that marks a layout, and its content.
pub const MARKER: (&str, &str) = ("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);

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
    pub(crate) fn len(&self) -> u64 {
        self.end.saturating_sub(self.at)
    }

    /// Leaves out what comes next.
    pub(crate) fn skip(&mut self, bytes: u64) {
        self.at = self.at.saturating_add(bytes).min(self.end);
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
                return Err(Error::new(Kind::NotFound, format!("'{}' does not exist", path.display()))
                    .hint("check the path: a directory or a .tar is meant; what is in a registry is written oci://HOST/REPOSITORY:VERSION"));
            }
            Err(e) => return Err(Error::io("opening bundle", path, e)),
        };
        let place = if meta.is_dir() {
            Place::Directory(File::open(path).doing("opening bundle", path)?.into())
        } else if meta.is_file() {
            let file = File::open(path).doing("opening bundle", path)?;
            refuse_compressed(path, &file)?;
            let again = file.try_clone().doing("opening bundle", path)?;
            let members = members(path, again, &|| Ok(()))?;
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
            )
            .hint("a newer program may have made it: use a newer isar-template"));
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

    pub(crate) fn member(&self, name: &str) -> Result<Option<Blob>> {
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
            Place::Tar(file, members) => Ok(members.get(name).map(|(at, size)| Blob {
                file: file.clone(),
                at: *at,
                end: at.saturating_add(*size),
            })),
        }
    }

    /// Refuses a directory whose blobs would be written somewhere else.
    pub(crate) fn check_appendable(&self) -> Result<()> {
        let Place::Directory(dir) = &self.place else { return Ok(()) };
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        match openat2(dir, "blobs/sha256", how) {
            Ok(_) => Ok(()),
            Err(Errno::ELOOP | Errno::ENOTDIR) => {
                Err(no_layout(&self.path, "its blobs/sha256 is a symlink, or no directory"))
            }
            Err(e) => Err(Error::io("opening", self.path.join("blobs/sha256"), e)),
        }
    }

    /// The names of the blobs in a tar, sorted; none for a directory.
    pub(crate) fn tar_blobs(&self) -> Option<Vec<String>> {
        let Place::Tar(_, members) = &self.place else { return None };
        let mut names: Vec<String> =
            members.keys().filter(|name| name.starts_with("blobs/")).cloned().collect();
        names.sort();
        Some(names)
    }

    fn document(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(mut blob) = self.member(name)? else { return Ok(None) };
        if blob.len() > MAX_UNSIGNED {
            return Err(Error::damaged(format!("'{name}' is larger than {MAX_UNSIGNED} bytes")));
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

/// Where a blob is in a layout.
pub fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Where the members of a layout's tar are: name to offset and size. `go_on` is asked at each.
pub fn members(
    path: &Path,
    tar: impl Read + Seek + 'static,
    go_on: &dyn Fn() -> Result<()>,
) -> Result<HashMap<String, (u64, u64)>> {
    let tar: Box<dyn Seekable> = Box::new(tar);
    let mut archive = Members::new(Source::Plain(BufReader::with_capacity(1 << 13, tar)));
    let mut members = HashMap::new();
    let mut count = 0;
    while let Some(member) = archive.next().map_err(|e| no_tar(path, e))? {
        go_on()?;
        count_member(path, &mut count)?;
        let Some(name) = name_of(path, &member)? else { continue };
        let at = archive.position().map_err(|e| no_tar(path, e))?;
        if members.insert(name.clone(), (at, member.size)).is_some() {
            return Err(no_layout(path, &format!("member '{}' occurs twice", name.escape_debug())));
        }
    }
    Ok(members)
}

/// Makes a layout, in a directory that has no blobs, of a tar of one that comes as a stream: how many bytes it was. Nothing
/// else may be in it.
pub fn unpack(path: &Path, tar: impl Read + 'static, layout: &Path, progress: &dyn Progress) -> Result<u64> {
    let mut archive = Members::new(Source::Compressed(Box::new(tar)));
    let (mut bytes, mut seen, mut count) = (0, HashSet::new(), 0);
    while let Some(member) = archive.next().map_err(|e| no_tar(path, e))? {
        progress.advance(0)?;
        count_member(path, &mut count)?;
        let Some(name) = name_of(path, &member)? else { continue };
        let hex = name.strip_prefix("blobs/sha256/");
        let blob = hex.and_then(|hex| format!("sha256:{hex}").parse::<Digest>().ok());
        if blob.is_none() && name != MARKER.0 && name != "index.json" {
            let why = format!("member '{}' does not belong into one", name.escape_debug());
            return Err(no_layout(path, &why));
        }
        if !seen.insert(name.clone()) {
            return Err(no_layout(path, &format!("member '{}' occurs twice", name.escape_debug())));
        }
        let target = layout.join(&name);
        let file = File::create(&target).doing("creating", &target)?;
        let mut written = Written { file, path: &target, hasher: Hasher::default(), progress };
        archive.content(&member, &mut written).map_err(|e| no_tar(path, e))?;
        let found = written.hasher.finish();
        match blob {
            Some(blob) if blob != found => return Err(differs("blob", &blob, &found)),
            _ => bytes += member.size,
        }
    }
    for name in [MARKER.0, "index.json"] {
        if !seen.contains(name) {
            return Err(no_layout(path, &format!("it has no {name}")));
        }
    }
    Ok(bytes)
}

fn count_member(path: &Path, count: &mut usize) -> Result<()> {
    *count += 1;
    match *count <= MAX_MEMBERS {
        true => Ok(()),
        false => Err(no_layout(path, "it has too many members")),
    }
}

/// The name of a regular file in the tar of a layout; none for a directory.
fn name_of(path: &Path, member: &Member) -> Result<Option<String>> {
    if member.path.len() > MAX_PATH {
        return Err(no_layout(path, &format!("the name of a member is longer than {MAX_PATH} bytes")));
    }
    let name = String::from_utf8_lossy(&member.path).trim_start_matches("./").to_string();
    match member.header.entry_type() {
        tar::EntryType::Directory => Ok(None),
        tar::EntryType::Regular if member.is_whole() => Ok(Some(name)),
        tar::EntryType::Regular => {
            Err(no_layout(path, &format!("member '{}' has holes", name.escape_debug())))
        }
        other => Err(no_layout(path, &format!("member '{}' has type {other:?}", name.escape_debug()))),
    }
}

/// How gzip, zstd, xz and bzip2 begin.
const COMPRESSED: [&[u8]; 4] = [b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ", b"BZh"];

/// Whether a file is no tar, as it is compressed.
fn refuse_compressed(path: &Path, file: &File) -> Result<()> {
    let mut start = [0; 6];
    let n = file.read_at(&mut start, 0).doing("opening bundle", path)?;
    match COMPRESSED.iter().any(|magic| start[..n].starts_with(magic)) {
        true => Err(no_layout(path, "it is compressed").hint(
            "decompress it with gunzip, unzstd or unxz; what install has written to FILE.tar.zst is a product, and no bundle",
        )),
        false => Ok(()),
    }
}

/// Errors of ours have come through the reader of the tar.
fn no_tar(path: &Path, e: io::Error) -> Error {
    e.downcast().unwrap_or_else(|e: io::Error| match e.kind() {
        // what the reader says of it has parts of the file in it
        io::ErrorKind::Other => {
            log::debug!("{}: {e}", path.display());
            no_layout(path, "it is not a tar archive")
        }
        _ => no_layout(path, &format!("it is not a tar archive: {e}")),
    })
}

/// A file that is being written, its digest and its progress. Its errors are ours.
struct Written<'a> {
    file: File,
    path: &'a Path,
    hasher: Hasher,
    progress: &'a dyn Progress,
}

impl Write for Written<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.file.write(buf).doing("writing", self.path).map_err(io::Error::other)?;
        self.hasher.update(&buf[..n]);
        self.progress.advance(n as u64).map_err(io::Error::other)?;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symlinks_and_fifos_in_a_layout_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("layout");
        crate::writer::Writer::new(&path).unwrap().finish(&Index::new()).unwrap();
        let digest = Digest::of(b"x");
        let blob = path.join(blob_name(&digest));
        std::os::unix::fs::symlink("/etc/passwd", &blob).unwrap();
        assert_eq!(Layout::open(&path).unwrap().blob(&digest, 1).err().unwrap().kind, Kind::Damaged);
        fs::remove_file(&blob).unwrap();
        nix::unistd::mkfifo(&blob, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(Layout::open(&path).unwrap().blob(&digest, 1).err().unwrap().kind, Kind::Damaged);
    }
}
