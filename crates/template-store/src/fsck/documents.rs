// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Documents of templates
//!
//! All of them are reached from the digest that names the template: the image index has it, and names the next.

use template_bundle::{Digest, Error, Kind, Result};

use super::{Checked, Template, What};
use crate::files::{list_dir, read_file, unreadable};
use crate::roots;
use crate::store::Store;

/// Checks what is known of each template. Those whose documents are good come back.
pub(super) fn check(store: &Store, out: &mut Checked) -> Result<Vec<Template>> {
    let mut good = Vec::new();
    for hex in list_dir(&store.path().join("templates"))? {
        let dir = store.path().join("templates").join(&hex);
        let Ok(digest) = format!("sha256:{hex}").parse::<Digest>() else { continue };
        match read(store, &digest) {
            Ok(Some(template)) => good.push(template),
            // an import was killed before it was complete: there is no such template
            Ok(None) => {}
            Err(e) if matches!(e.kind, Kind::Damaged | Kind::NotFound | Kind::Io | Kind::Unsupported) => {
                out.found(What::Document, dir, e.message);
                let finding = out.findings.last_mut();
                finding.map(|finding| finding.templates.insert(digest.to_string()));
            }
            Err(e) => return Err(e),
        }
    }
    check_names(store, out)?;
    for (path, detail) in roots::damaged(store)? {
        out.found(What::Document, path, detail);
    }
    good.sort_by(|a, b| a.reference.cmp(&b.reference).then_with(|| a.digest.cmp(&b.digest)));
    Ok(good)
}

fn check_names(store: &Store, out: &mut Checked) -> Result<()> {
    for name in list_dir(&store.refs())? {
        for version in list_dir(&store.refs().join(&name))? {
            let detail = match store.get_ref(&name, &version) {
                Ok(Some(digest)) if !store.is_recorded(&digest) => {
                    format!("it names {digest}, which is not there")
                }
                Ok(_) => continue,
                Err(e) => e.message,
            };
            out.found(What::Document, store.refs().join(&name).join(&version), detail);
            let finding = out.findings.last_mut();
            finding.map(|finding| finding.templates.insert(format!("{name}:{version}")));
        }
    }
    Ok(())
}

fn read(store: &Store, digest: &Digest) -> Result<Option<Template>> {
    let Some(stored) = store.get(digest)? else { return Ok(None) };
    if stored.record.digest != *digest {
        return Err(Error::damaged(format!("its record is about {}", stored.record.digest)));
    }
    // checks that each document is the one that another names, from the image index on
    let evidence = store.evidence(&stored)?;
    let Some(own) = evidence.first() else { return Err(Error::damaged("nothing proves it")) };
    for (name, expected) in [("index.json", &own.index), ("manifest.json", &own.manifest)] {
        let path = store.template_dir(digest).join(name);
        let found = read_file(&path).map_err(|e| unreadable(&path, e))?;
        if found != expected.as_bytes() {
            return Err(Error::damaged(format!("'{name}' is not as it was when it was verified")));
        }
    }
    let (reference, manifest) = (stored.reference(), stored.manifest);
    Ok(Some(Template { digest: *digest, reference, manifest }))
}
