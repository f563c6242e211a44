// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # install --output oci: the result as a template of its own

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use template_bundle::derive::{self, Derivation};
use template_bundle::manifest::{Package, ROOTFS};
use template_bundle::pack::Packed;
use template_bundle::toc::Entry;
use template_bundle::{Error, Kind};
use template_chroot::Root;
use template_chroot::apt::{Origin, Plan};
use template_chroot::overlay::{Merged, touched};
use template_store::Stored;

use super::transaction::Instance;
use crate::progress::Progress;

/// What a derived template is called, and who answers for it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Derived template")]
pub struct Derived {
    /// Name of the template that --output oci: makes
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Version of the template that --output oci: makes; becomes an OCI tag
    #[arg(long = "version", id = "template_version", value_name = "VERSION")]
    version: Option<String>,
    /// Sign what --output oci: makes with this key: a private key, or a public key whose private half ssh-agent or a token holds
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
}

impl Derived {
    /// Whether the options fit the output.
    pub fn check(&self, is_bundle: bool) -> Result<()> {
        let given = self.name.is_some() || self.version.is_some() || self.sign.is_some();
        if is_bundle && (self.name.is_none() || self.version.is_none()) {
            return Err(Error::usage("a derived template needs a name and a version")
                .hint("add --name NAME --version VERSION")
                .into());
        }
        if given && !is_bundle {
            return Err(Error::usage("--name, --version and --sign are for derived templates")
                .hint("write --output oci:DIR or oci:FILE.tar to get one, or leave them out")
                .into());
        }
        Ok(())
    }

    /// Whether one can be made from this template.
    pub fn check_parent(&self, parent: &Stored) -> Result<()> {
        let (name, version) = self.names();
        let parent = &parent.manifest;
        if (name, version) == (&parent.name, &parent.template_version) {
            return Err(Error::usage(format!("'{name}:{version}' is the template that it is made from"))
                .hint("give it a name or a version of its own")
                .into());
        }
        Ok(derive::check(parent, name, version)?)
    }

    fn names(&self) -> (&str, &str) {
        (self.name.as_deref().unwrap_or_default(), self.version.as_deref().unwrap_or_default())
    }

    /// Writes the bundle.
    pub fn write(
        &self,
        instance: &Instance,
        plan: &Plan,
        output: &Path,
        progress: &Progress,
    ) -> Result<Packed> {
        let Root::Overlay { lowers, upper, .. } = &instance.root else {
            return Err(Error::new(Kind::Internal, "what is no overlay has no changes").into());
        };
        let component = instance.stored.manifest.component(ROOTFS)?;
        let base: Vec<Entry> =
            instance.store.entries(component, true)?.into_iter().map(|(entry, _)| entry).collect();
        // what lies above the template: a result of the store, perhaps
        let above = lowers.len() - instance.store.lowers(component, true)?.len();
        let uppers = [std::slice::from_ref(upper), &lowers[..above]].concat();
        let touched = touched(&uppers, base.iter().map(|entry| &entry.path.0[..]))?;
        let merged = Merged::of(&instance.root)?;
        let (name, version) = self.names();
        let derivation = Derivation {
            name: name.to_owned(),
            version: version.to_owned(),
            parents: instance.store.evidence(&instance.stored)?,
            base,
            root: merged.path(),
            touched,
            built: built(plan),
            key: self.sign.clone(),
        };
        let packed = derive::derive(derivation, output, progress)?;
        for warning in &packed.warnings {
            log::warn!("{warning}");
        }
        Ok(packed)
    }
}

/// What no repository has: the template says which files these were.
fn built(plan: &Plan) -> Vec<Package> {
    let is_built = |origin: &Origin| matches!(origin, Origin::File { .. } | Origin::Folder { .. });
    let actions = plan.actions.iter().filter(|action| action.origin.as_ref().is_some_and(is_built));
    actions
        .filter_map(|action| {
            Some(Package {
                package: action.package.clone(),
                version: action.new_version.clone()?,
                architecture: action.architecture.clone(),
                sha256: Some(action.sha256.clone()?),
                recipe: None,
                task_hash: None,
            })
        })
        .collect()
}
