// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # pull: a bundle from elsewhere

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::json;
use template_bundle::writer::Writer;
use template_bundle::{Digest, Error};
use template_registry::{Extent, Wanted};

use crate::cli::{Cli, Trust};
use crate::output as show;
use crate::progress::Progress;
use crate::remote;

/// Fetch a bundle from a registry or a web server
///
/// Writes a directory or a tar, which has the signatures as well, and is there when it is complete. Needs no privilege. Every blob has the digest that was
/// declared, but who has signed it is verified only when --allowed-signers and --identity are given, and that before
/// contents are fetched (but of a tar on a web server that gives no parts of files); import verifies in any case.
/// Logins are those of podman, skopeo and docker.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  isar-template pull oci://registry.example.com/team/platform:1.0
  isar-template pull https://example.com/releases/platform-1.0.tar
  isar-template pull --allowed-signers keys --identity platform-team@example.org \\
      oci://registry.example.com/team/platform:1.0 bundle")]
pub struct PullOpts {
    /// oci://HOST[:PORT]/REPOSITORY:VERSION or …@sha256:DIGEST, https://HOST[:PORT]/PATH.tar, or https://… of a bundle's directory
    #[arg(value_name = "oci://…|https://…")]
    bundle: String,
    /// Where to put it: a directory, or a tar when it ends with .tar [default: NAME-VERSION, or the last part of the address]
    #[arg(value_name = "DIR|FILE.tar")]
    output: Option<PathBuf>,
    #[command(flatten)]
    trust: Trust,
}

/// Runs the verb.
pub fn run(cli: &Cli, opts: &PullOpts) -> Result<u8> {
    let progress = Progress::new(&cli.global, "pull");
    let place = opts.trust.place(&opts.bundle)?;
    if opts.trust.offline {
        return Err(Error::usage("pull asks a server, and --offline forbids it").hint("leave it out").into());
    }
    let output = opts.output.clone().or_else(|| place.file_name().map(PathBuf::from)).ok_or_else(|| {
        Error::usage(format!("'{place}' has nothing to name the bundle after"))
            .hint("append the :VERSION that is meant, or say where to put it")
    })?;
    // before anything is fetched: it may be wrong
    let policy = opts.trust.trusted.policy_if_given()?;
    let mut remote = opts.trust.remote(&place)?;
    let new = Writer::new(&output)?;
    let (bundle, documents) =
        remote::documents(policy.as_ref(), &mut remote, &place, new.path(), Extent::All, &progress)?;
    let wanted = |blob: &Digest| if bundle.may_lack(blob) { Wanted::IfThere } else { Wanted::Whole };
    let traffic = remote::fetch(&remote, &documents, &wanted, new.path(), &progress)?;
    for component in &bundle.manifest.components {
        component.trees().try_for_each(|tree| bundle.check_presence(component, tree))?;
    }
    let moved = documents.fetched + traffic.moved;
    new.finish(&bundle.layout().index()?)?;
    progress.finish();
    let manifest = &bundle.manifest;
    let signer = match opts.trust.trusted.is_given() {
        true => Some(bundle.accepted()?.identity.clone()),
        false => None,
    };
    let fields = json!({
        "name": manifest.name,
        "templateVersion": manifest.template_version,
        "digest": documents.digest,
        "signer": signer,
        "signatures": bundle.signatures.len(),
        "bytesFetched": moved,
        "output": output.to_string_lossy(),
    });
    show::result(cli, fields, |out| {
        let _ = writeln!(out, "{}:{} {}", manifest.name, manifest.template_version, documents.digest);
        let _ = match &signer {
            Some(signer) => writeln!(out, "good signature by '{}'", show::plain(signer)),
            None => {
                let signatures = show::count(bundle.signatures.len(), "signature");
                writeln!(out, "not verified, {signatures}: import and verify do so")
            }
        };
        let _ = writeln!(out, "fetched to {}: {}", output.display(), show::size(moved));
    })?;
    Ok(0)
}
