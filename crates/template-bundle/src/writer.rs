// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Writing OCI image layouts
//!
//! A new one is made beside its final place, and gets its name when it is complete; one that exists is added to under
//! a lock. Everything is written aside, synced, and then renamed.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::Mode;

use crate::aside::{self, NewDir, NewFile};
use crate::digest::{Digest, Hashing};
use crate::error::{Error, IoContext, Kind, Result};
use crate::layout::{Layout, MARKER, blob_name};
use crate::oci::{Descriptor, Index, to_bytes};

/// A layout that is being written: a directory that gets its final name, or becomes a tar, when it is complete.
pub struct Writer {
    dir: NewDir,
    output: PathBuf,
}

impl Writer {
    /// Starts beside the output. An existing output is only replaced when it is finished.
    pub fn new(output: &Path) -> Result<Writer> {
        let parent = parent_of(output);
        if !parent.is_dir() {
            return Err(Error::new(
                Kind::NotFound,
                format!("directory '{}' does not exist", parent.display()),
            )
            .hint("make it first, or write to another place"));
        }
        if fs::symlink_metadata(output).is_ok() {
            return Err(Error::usage(format!("'{}' exists already", output.display()))
                .hint("remove it, or choose another name"));
        }
        let dir = NewDir::new(output)?;
        fs::create_dir_all(dir.path().join("blobs/sha256")).doing("creating", dir.path())?;
        aside::write(&dir.path().join(MARKER.0), MARKER.1.as_bytes())?;
        Ok(Writer { dir, output: output.to_path_buf() })
    }

    /// Where it is being written.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a small blob.
    pub fn add(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor> {
        add_blob(self.dir.path(), media_type, bytes)
    }

    /// Writes a blob whose digest is known only when it is written.
    pub fn stream<T>(&self, write: impl FnOnce(&mut dyn Write) -> Result<T>) -> Result<(T, Digest, u64)> {
        let blobs = self.dir.path().join("blobs/sha256");
        let new = NewFile::new(&blobs.join("blob"))?;
        let mut hashing = Hashing::new(std::io::BufWriter::with_capacity(1 << 20, new.file()));
        let result = write(&mut hashing).map_err(|e| match e.kind {
            Kind::Io => e.within(format!("'{}'", self.output.display())),
            _ => e,
        })?;
        hashing.flush().doing("writing", &blobs)?;
        let (_, digest, size) = hashing.finish();
        new.keep_as(&self.dir.path().join(blob_name(&digest)))?;
        Ok((result, digest, size))
    }

    /// Writes `index.json` and gives the layout its name.
    pub fn finish(self, index: &Index) -> Result<()> {
        write_index(self.dir.path(), index)?;
        let is_tar = self.output.extension().is_some_and(|e| e == "tar");
        if is_tar {
            let new = NewFile::new(&self.output)?;
            write_tar(self.dir.path(), new.file())?;
            new.keep()
        } else {
            sync_tree(self.dir.path())?;
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777 & !umask());
            fs::set_permissions(self.dir.path(), mode).doing("writing", self.dir.path())?;
            self.dir.keep()?;
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
    layout.check_appendable()?;
    let mut index = layout.index()?;
    update(&mut index);
    let Some(names) = layout.tar_blobs() else {
        for blob in blobs {
            add_blob(path, "", blob)?;
        }
        return write_index(path, &index);
    };
    let new = NewFile::new(path)?;
    let bytes = to_bytes(&index)?;
    let mut out = tar::Builder::new(std::io::BufWriter::with_capacity(1 << 20, new.file()));
    tar_member(&mut out, MARKER.0, MARKER.1.len() as u64, MARKER.1.as_bytes())?;
    tar_member(&mut out, "index.json", bytes.len() as u64, &bytes[..])?;
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
    new.keep()
}

fn add_blob(dir: &Path, media_type: &str, bytes: &[u8]) -> Result<Descriptor> {
    let digest = Digest::of(bytes);
    aside::write(&dir.join(blob_name(&digest)), bytes)?;
    Ok(Descriptor::new(media_type, digest, bytes.len() as u64))
}

/// The directory that a path is in.
pub fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The umask of this process.
pub fn umask() -> u32 {
    // the kernel has no other way to tell
    let umask = nix::sys::stat::umask(Mode::S_IRWXG | Mode::S_IRWXO);
    nix::sys::stat::umask(umask);
    umask.bits()
}

fn write_index(dir: &Path, index: &Index) -> Result<()> {
    aside::write(&dir.join("index.json"), &to_bytes(index)?)
}

/// Makes a new name durable.
pub(crate) fn sync_parent(path: &Path) -> Result<()> {
    let parent = parent_of(path);
    File::open(parent).and_then(|d| d.sync_all()).doing("syncing", parent)
}

fn sync_tree(dir: &Path) -> Result<()> {
    for sub in ["blobs/sha256", "blobs", ""] {
        let path = dir.join(sub);
        File::open(&path).and_then(|d| d.sync_all()).doing("writing", &path)?;
    }
    Ok(())
}

fn write_tar(dir: &Path, out: &File) -> Result<()> {
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
}
