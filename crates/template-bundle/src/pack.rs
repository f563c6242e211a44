// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Making a bundle
//!
//! Reads the components, writes their OCI layers and tables of contents, and the documents that name them. The same
//! input gives the same digest: nothing of the host, of the user or of the present time gets in.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::ancestors::{Evidence, check_parents};
use crate::anchors::{note_built, read_anchors};
use crate::base::Base;
use crate::debian;
use crate::digest::Digest;
use crate::documents::tagged;
use crate::error::{Error, Kind, Result};
use crate::finish;
use crate::frames::Compression;
use crate::inroot::InRoot;
use crate::limits::MAX_DOCUMENT;
use crate::manifest::{
    ARTIFACT_TYPE, CONFIG_TYPE, Component, FORMAT_VERSION, NAME, Package, ROOTFS, TemplateManifest, Tree,
};
use crate::names;
use crate::oci::{
    self, CONFIG, CREATED, HAS_ZSTD, INDEX, Index, MANIFEST, Manifest, Platform, VERSION, to_bytes,
};
use crate::referrers::signature_documents;
use crate::scan::scan;
use crate::ssh_keygen;
use crate::toc::{Entry, check_writable};
use crate::tree::{self, Advance, Contents, OnDisk};
use crate::writer::{Writer, parent_of};

/// What to pack.
pub struct Input {
    /// Name of the template.
    pub name: String,
    /// Version of the template.
    pub version: String,
    /// Components: name and path.
    pub components: Vec<(String, PathBuf)>,
    /// Anchors, as the layer recorded them.
    pub anchors: Option<PathBuf>,
    /// What proves the template that this one was made from, and those before it.
    pub parents: Vec<Evidence>,
    /// Key to sign with.
    pub key: Option<PathBuf>,
    /// Compression of the trees.
    pub compression: Compression,
    /// The version from which updates are to be small.
    pub base: Option<Base>,
}

/// What came out.
pub struct Packed {
    /// Digest of the image index.
    pub digest: Digest,
    /// The template manifest.
    pub manifest: TemplateManifest,
    /// Whether it is signed.
    pub signed: bool,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Tells of a component that begins, its uncompressed bytes, and then of bytes done.
pub trait Progress: Sync {
    /// A component begins.
    fn begin(&self, what: &str, bytes: u64);
    /// Bytes done. An error ends the work.
    fn advance(&self, bytes: u64) -> Result<()>;
}

/// Whether there is something to pack.
fn check_place(name: &str, path: &Path) -> Result<()> {
    let what = format!("component '{name}': '{}'", path.display());
    match path.metadata() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            Err(Error::new(Kind::NotFound, format!("{what} does not exist")).hint("check the path behind the ="))
        }
        Ok(meta) if name == ROOTFS && !meta.is_dir() => Err(Error::usage(format!("{what} is no directory"))
            .hint("unpack it first, as root: tar --xattrs --xattrs-include='*' --numeric-owner -x -f FILE -C DIR")),
        _ => Ok(()),
    }
}

/// Packs a bundle. Nothing is at the output until it is complete.
pub fn pack(input: &Input, output: &Path, progress: &dyn Progress) -> Result<Packed> {
    names::check_name(&input.name)?;
    names::check_version(&input.version)?;
    for (at, (name, path)) in input.components.iter().enumerate() {
        names::check_component(name)?;
        check_place(name, path)?;
        if input.components[..at].iter().any(|(other, _)| other == name) {
            return Err(
                Error::usage(format!("component '{name}' is given twice")).hint("give each component once")
            );
        }
    }
    let Some((_, rootfs)) = input.components.iter().find(|(name, _)| name == ROOTFS) else {
        return Err(Error::usage("a template needs a root filesystem").hint("add --component rootfs=DIR"));
    };
    let parent = check_parents(&input.parents).map_err(|e| e.within("--parent"))?;
    let (anchors, anchors_json) = read_anchors(input.anchors.as_deref())?;
    let (identity, mut packages) = debian::read(rootfs)?;
    note_built(&mut packages, anchors.self_built.into_iter().map(Package::from));
    let or = |given: Option<String>, found: String, what: &str| match given.unwrap_or(found) {
        text if text.is_empty() => {
            Err(Error::usage(format!("the {what} of '{}' is not known", rootfs.display())).hint(
                "the root filesystem needs os-release and an installed dpkg, or an anchors file must say it",
            ))
        }
        text => Ok(text),
    };
    check_apart(output, &input.components)?;
    let writer = Writer::new(output)?;
    let mut warnings = Vec::new();
    let mut components = Vec::new();
    let mut newest = (i64::MIN, 0);
    for (name, path) in &input.components {
        let (mut entries, notes) = scan(path).map_err(|e| e.within(format!("component '{name}'")))?;
        newest = entries.iter().map(|e| e.mtime).chain([newest]).max().unwrap_or(newest);
        for socket in notes.sockets {
            warnings.push(format!("socket '{}' is left out", socket.display()));
        }
        let finish_layer = if name == ROOTFS {
            warn_of_secrets(&entries, &mut warnings);
            let root = InRoot::open(path)?;
            let steps = finish::steps(&root)?;
            (!steps.is_empty()).then(|| finish::layer(&root, &steps, &entries)).transpose()?
        } else {
            None
        };
        let fresh = match &input.base {
            Some(base) => {
                tree::hash_contents(&mut entries, &OnDisk(path))?;
                base.fresh(&entries)
            }
            None => vec![],
        };
        progress.begin(name, entries.iter().map(Entry::size).sum());
        let contents = OnDisk(path);
        let tree =
            write_tree(&writer, entries, &fresh, &contents, input.compression, &|n| progress.advance(n))?;
        let finish = finish_layer
            .map(|mut layer| {
                let entries = std::mem::take(&mut layer.entries);
                write_tree(&writer, entries, &[], &layer, input.compression, &|_| Ok(()))
            })
            .transpose()?;
        components.push(Component { name: name.clone(), tree, changes: vec![], finish });
    }
    let manifest = TemplateManifest {
        version: FORMAT_VERSION,
        name: input.name.clone(),
        template_version: input.version.clone(),
        created: created(newest)?,
        packed_by: packed_by(),
        distro: or(anchors.distro, identity.distro, "distribution")?,
        codename: or(anchors.codename, identity.codename, "code name")?,
        architecture: or(anchors.architecture, identity.architecture, "architecture")?,
        machine: anchors.machine,
        parent,
        components,
        packages,
        anchors: anchors_json,
    };
    seal(writer, manifest, &input.parents, input.key.as_deref(), warnings)
}

/// What writes it.
pub(crate) fn packed_by() -> String {
    format!("isar-template {}", env!("CARGO_PKG_VERSION"))
}

/// Writes the documents of a bundle whose trees are there, signs it, and gives it its name.
pub(crate) fn seal(
    writer: Writer,
    manifest: TemplateManifest,
    parents: &[Evidence],
    key: Option<&Path>,
    warnings: Vec<String>,
) -> Result<Packed> {
    let version = &manifest.template_version;
    let (index_bytes, image) = write_documents(&writer, &manifest)?;
    let mut top = Index::new();
    let mut descriptor = writer.add(INDEX, &index_bytes)?;
    descriptor.artifact_type = Some(ARTIFACT_TYPE.into());
    let digest = descriptor.digest;
    top.manifests.push(tagged(descriptor, version));
    top.manifests.push(tagged(image, &format!("{version}{}", names::ROOTFS_TAG_SUFFIX)));
    let size = index_bytes.len() as u64;
    let mut referrers = Vec::new();
    for evidence in parents {
        referrers.push(evidence.documents(&digest, size)?);
    }
    if let Some(key) = key {
        let text = ssh_keygen::sign(key, &index_bytes)?;
        referrers.push(signature_documents(&text, &digest, size)?);
    }
    for (blobs, descriptor) in referrers {
        for blob in &blobs {
            writer.add("", blob)?;
        }
        top.manifests.push(descriptor);
    }
    writer.finish(&top)?;
    Ok(Packed { digest, manifest, signed: key.is_some(), warnings })
}

/// Refuses an output that would be packed into itself.
fn check_apart(output: &Path, components: &[(String, PathBuf)]) -> Result<()> {
    let Ok(parent) = parent_of(output).canonicalize() else { return Ok(()) };
    for (name, path) in components {
        if path.canonicalize().is_ok_and(|path| path.is_dir() && parent.starts_with(path)) {
            return Err(Error::usage(format!(
                "the output '{}' is inside of the component '{name}'",
                output.display()
            ))
            .hint("write the bundle somewhere else"));
        }
    }
    Ok(())
}

/// Writes one tree: its OCI layer and its table of contents.
pub fn write_tree(
    writer: &Writer,
    entries: Vec<Entry>,
    fresh: &[bool],
    contents: &dyn Contents,
    compression: Compression,
    progress: &Advance,
) -> Result<Tree> {
    check_writable(&entries)?;
    let (written, digest, size) =
        writer.stream(|out| tree::write(entries, fresh, contents, compression, out, progress))?;
    let ((), toc_digest, toc_size) = writer.stream(|out| written.toc.write(out))?;
    Ok(Tree {
        compression,
        digest,
        size,
        diff_id: written.diff_id,
        raw_size: written.raw_size,
        toc_digest,
        toc_size,
        entries: written.toc.entries.len() as u64,
    })
}

/// A bundle that nobody can read must not be made.
fn check_readable(manifest: &[u8]) -> Result<()> {
    let why = match TemplateManifest::parse(manifest) {
        Err(e) => e.message,
        Ok(_) if manifest.len() as u64 > MAX_DOCUMENT => {
            format!("the template manifest is larger than {MAX_DOCUMENT} bytes")
        }
        Ok(_) => return Ok(()),
    };
    Err(Error::new(Kind::Refused, format!("cannot be packed: {why}"))
        .hint("most of a template manifest is the anchors file: see what makes it so"))
}

fn write_documents(writer: &Writer, manifest: &TemplateManifest) -> Result<(Vec<u8>, oci::Descriptor)> {
    let platform = Platform::of_debian(&manifest.architecture);
    let bytes = to_bytes(manifest)?;
    check_readable(&bytes)?;
    let mut artifact = Manifest::new(writer.add(CONFIG_TYPE, &bytes)?);
    artifact.artifact_type = Some(ARTIFACT_TYPE.into());
    artifact.layers = manifest.components.iter().flat_map(Component::descriptors).collect();
    let mut artifact = writer.add(MANIFEST, &to_bytes(&artifact)?)?;
    artifact.artifact_type = Some(ARTIFACT_TYPE.into());
    artifact.platform = Some(platform.clone());

    let rootfs = manifest.component(ROOTFS)?;
    let config = json!({
        "created": manifest.created,
        "architecture": platform.architecture,
        "variant": platform.variant,
        "os": "linux",
        "config": {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Cmd": ["/bin/bash"],
            "Labels": { NAME: manifest.name, VERSION: manifest.template_version },
        },
        "rootfs": { "type": "layers", "diff_ids": rootfs.trees().map(|t| t.diff_id).collect::<Vec<_>>() },
        "history": rootfs.trees().map(|_| json!({
            "created": manifest.created, "created_by": manifest.packed_by,
        })).collect::<Vec<_>>(),
    });
    let config = without_nulls(config);
    let mut image = Manifest::new(writer.add(CONFIG, &to_bytes(&config)?)?);
    image.layers = rootfs
        .trees()
        .map(|t| oci::Descriptor::new(t.compression.layer_media_type(), t.digest, t.size))
        .collect();
    let mut image = writer.add(MANIFEST, &to_bytes(&image)?)?;
    image.platform = Some(platform);
    if rootfs.trees().any(|t| t.compression == Compression::Zstd) {
        image.annotations.insert(HAS_ZSTD.into(), "true".into());
    }

    let mut index = Index::new();
    index.artifact_type = Some(ARTIFACT_TYPE.into());
    index.manifests = vec![artifact, image.clone()];
    index.annotations.insert(NAME.into(), manifest.name.clone());
    index.annotations.insert(VERSION.into(), manifest.template_version.clone());
    index.annotations.insert(CREATED.into(), manifest.created.clone());
    Ok((to_bytes(&index)?, image))
}

fn without_nulls(mut value: Value) -> Value {
    if let Value::Object(map) = &mut value {
        map.retain(|_, v| !v.is_null());
    }
    value
}

/// The present time, RFC 3339, to the second.
pub fn timestamp_now() -> String {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

/// Time of creation: SOURCE_DATE_EPOCH, else the newest modification time of the input.
pub(crate) fn created(newest: (i64, u32)) -> Result<String> {
    let seconds = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text.trim().parse::<i64>().map_err(|_| {
            Error::usage(format!("SOURCE_DATE_EPOCH is '{}', not a number of seconds", text.escape_debug()))
                .hint("set it to seconds since 1970, such as those of 'git log -1 --format=%ct', or unset it")
        })?,
        Err(_) => newest.0,
    };
    Ok(Timestamp::from_second(seconds)
        .map_err(|e| {
            Error::usage(format!("the time of creation is out of range: {e}"))
                .hint("set SOURCE_DATE_EPOCH to seconds since 1970, or unset it")
        })?
        .to_string())
}

/// What every product made from the template would share without meaning to.
pub(crate) fn warn_of_secrets(entries: &[Entry], warnings: &mut Vec<String>) {
    let keys =
        entries.iter().filter(|e| e.path.0.starts_with(b"etc/ssh/ssh_host_") && e.path.0.ends_with(b"_key"));
    if keys.count() > 0 {
        warnings.push(
            "the root filesystem holds SSH host keys: every product made from it will share them".into(),
        );
    }
}
