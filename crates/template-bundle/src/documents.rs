// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What the documents of a bundle say of each other
//!
//! `index.json`, which nobody signed, the signed image index, and the manifests: other tools go by some of them, we by others,
//! and all have to mean the same.

use std::path::Path;

use serde::Deserialize;

use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::json::parse;
use crate::layout::Layout;
use crate::manifest::{ARTIFACT_TYPE, Component, ROOTFS, TemplateManifest};
use crate::names::ROOTFS_TAG_SUFFIX;
use crate::oci::{CONFIG, Descriptor, INDEX, Index, Manifest, REF_NAME};

/// The runnable image that an image index names, beside a template and nothing else.
pub fn image_of(index: &Index) -> Result<&Descriptor> {
    let mut images = index.manifests.iter().filter(|d| d.artifact_type.is_none());
    match (images.next(), images.next()) {
        (Some(image), None) if index.manifests.len() == 2 => Ok(image),
        _ => Err(Error::damaged("the image index does not name a template and its runnable image alone")),
    }
}

/// The template that `index.json` names.
pub fn find_template<'a>(top: &'a Index, path: &Path) -> Result<&'a Descriptor> {
    let templates: Vec<&Descriptor> = top
        .manifests
        .iter()
        .filter(|d| d.media_type == INDEX && d.artifact_type.as_deref() == Some(ARTIFACT_TYPE))
        .collect();
    match templates[..] {
        [one] => Ok(one),
        [] => Err(Error::damaged(format!("'{}' holds no template", path.display()))
            .hint("it is an OCI image layout, but not one that isar-template pack has made")),
        _ => Err(Error::damaged(format!("'{}' holds several templates", path.display()))
            .hint("a bundle holds one version of one template")),
    }
}

/// Other tools go by the tags of `index.json`, which nobody signed: each has to mean what was signed as that.
pub(crate) fn check_tags(
    top: &Index,
    template: &Descriptor,
    image: &Descriptor,
    manifest: &TemplateManifest,
) -> Result<()> {
    let version = &manifest.template_version;
    let runnable = format!("{version}{ROOTFS_TAG_SUFFIX}");
    let tags = top.manifests.iter().filter_map(|d| Some((d.annotations.get(REF_NAME)?, &d.digest)));
    let mut named = false;
    for (tag, digest) in tags {
        let right = match () {
            () if *digest == template.digest => tag == version,
            () if *digest == image.digest => *tag == runnable,
            () => false,
        };
        if !right {
            return Err(relabelled(tag, manifest));
        }
        named |= tag == version;
    }
    if named { Ok(()) } else { Err(relabelled("", manifest)) }
}

fn relabelled(tag: &str, manifest: &TemplateManifest) -> Error {
    Error::new(
        Kind::TagDiffers,
        format!(
            "the bundle has the tag '{}', but what is signed is version '{}' of '{}'",
            tag.escape_debug(),
            manifest.template_version,
            manifest.name
        ),
    )
    .hint("somebody relabelled the bundle: get it from its publisher again")
}

/// What the registry sees of a template is what its manifest says.
pub(crate) fn check_artifact(artifact: &Manifest, manifest: &TemplateManifest) -> Result<()> {
    let expected: Vec<Descriptor> = manifest.components.iter().flat_map(Component::descriptors).collect();
    if artifact.layers != expected {
        return Err(Error::damaged(
            "the artifact manifest and the template manifest disagree on the components",
        ));
    }
    Ok(())
}

/// What other tools run is the template's root filesystem.
pub(crate) fn check_image(layout: &Layout, image: &Descriptor, manifest: &TemplateManifest) -> Result<()> {
    #[derive(Deserialize)]
    struct Config {
        rootfs: RootFs,
    }
    #[derive(Deserialize)]
    struct RootFs {
        diff_ids: Vec<Digest>,
    }
    let rootfs = manifest.component(ROOTFS)?;
    let image: Manifest = parse("the image manifest", &layout.read("image manifest", image)?)?;
    let config: Config =
        parse("the image configuration", &layout.read("image configuration", &image.config)?)?;
    let layers: Vec<_> = image.layers.iter().map(|l| (&l.media_type[..], l.digest, l.size)).collect();
    let expected: Vec<_> =
        rootfs.trees().map(|t| (t.compression.layer_media_type(), t.digest, t.size)).collect();
    let diff_ids: Vec<Digest> = rootfs.trees().map(|t| t.diff_id).collect();
    if layers != expected || config.rootfs.diff_ids != diff_ids || image.config.media_type != CONFIG {
        return Err(Error::damaged("the runnable image is another one than the template's root filesystem"));
    }
    Ok(())
}

/// The annotation of a descriptor in `index.json` that tags it.
pub fn tagged(mut descriptor: Descriptor, tag: &str) -> Descriptor {
    descriptor.annotations.insert(REF_NAME.into(), tag.into());
    descriptor
}
