// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # The command line
//!
//! Verbs own their options, in their modules; here is what all have in common.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use template_bundle::{Error, Result};

use crate::verbs;

/// Shown below the help, after the exit codes.
const SURROUNDINGS: &str = "\
Without root:
  Verbs that need root do without where the user has sub-ids (/etc/subuid and /etc/subgid,
  package uidmap), in a user namespace and with a store of the user's own.

Environment:
  ISAR_TEMPLATE_STORE  the store, unless --store is given
  RUST_LOG             log filter, like debug or template_chroot=trace
  SOURCE_DATE_EPOCH    time of creation that pack records";

/// Signed image templates for Isar and Debian.
///
/// A template is a prebuilt root filesystem with the build chroots and packages that belong to it. A platform team
/// packs and signs it as a bundle; product teams import it and install packages on top, in seconds.
#[derive(Debug, Parser)]
#[command(name = "isar-template", version, after_help = SURROUNDINGS, max_term_width = 100, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

/// Options of every verb.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every verb")]
pub struct Global {
    /// Store [default: $ISAR_TEMPLATE_STORE, else /var/lib/isar-template for root, else $XDG_DATA_HOME/isar-template]
    #[arg(long, global = true, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Form of the result on standard output
    #[arg(long, global = true, value_enum, default_value_t = Format::Human)]
    pub format: Format,
    /// How progress is shown on standard error; auto is a bar on a terminal, plain lines otherwise
    #[arg(long, global = true, value_enum, default_value_t = ProgressMode::Auto, value_name = "HOW")]
    pub progress: ProgressMode,
    /// Only warnings and errors on standard error
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// More on standard error; twice for debugging
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

impl Global {
    /// Where the store is.
    pub fn store(&self) -> Result<PathBuf> {
        if let Some(store) = &self.store {
            return Ok(store.clone());
        }
        if let Some(store) = std::env::var_os("ISAR_TEMPLATE_STORE").filter(|store| !store.is_empty()) {
            return Ok(store.into());
        }
        if nix::unistd::geteuid().is_root() && !template_chroot::userns::entered() {
            return Ok("/var/lib/isar-template".into());
        }
        // never a place that depends on the current directory
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
        let data = absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")));
        match data {
            Some(data) => Ok(data.join("isar-template")),
            None => Err(Error::usage("no place for the store: HOME is not set")
                .hint("say where it is, with --store DIR or in ISAR_TEMPLATE_STORE")),
        }
    }
}

/// Form of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people; its form is not promised.
    Human,
    /// One JSON object; its form is versioned.
    Json,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProgressMode {
    /// A bar on a terminal, plain lines otherwise
    Auto,
    /// A line for each step
    Plain,
    /// Lines with percentages that bitbake's progress handler reads
    Bitbake,
    /// Nothing
    None,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Pack(verbs::pack::PackOpts),
    Sign(verbs::sign::SignOpts),
    Verify(verbs::verify::VerifyOpts),
    Inspect(verbs::inspect::InspectOpts),
    Import(verbs::import::ImportOpts),
    List(verbs::list::ListOpts),
    Gc(verbs::gc::GcOpts),
    Fsck(verbs::fsck::FsckOpts),
    Push(verbs::push::PushOpts),
    Pull(verbs::pull::PullOpts),
    Checkout(verbs::checkout::CheckoutOpts),
    Plan(verbs::plan::PlanOpts),
    Install(verbs::install::InstallOpts),
    Exec(verbs::exec::ExecOpts),
    Diff(verbs::diff::DiffOpts),
    Qa(verbs::qa::QaOpts),
    Completion(verbs::completion::CompletionOpts),
    Man(verbs::man::ManOpts),
}

impl Cli {
    /// Whether it handles files of all owners, so that an ordinary user needs a user namespace.
    pub fn handles_owners(&self) -> bool {
        match &self.verb {
            Verb::Import(_) | Verb::Gc(_) | Verb::Fsck(_) => true,
            Verb::Plan(_) | Verb::Install(_) | Verb::Exec(_) | Verb::Qa(_) => true,
            Verb::Checkout(opts) => !opts.no_store,
            // what is in the trees of his own store
            Verb::Diff(opts) => {
                opts.names_stored()
                    && self.global.store().is_ok_and(|store| template_store::is_of_a_user(&store))
            }
            Verb::List(opts) => opts.sizes,
            Verb::Pack(_) | Verb::Sign(_) | Verb::Verify(_) | Verb::Inspect(_) => false,
            Verb::Push(_) | Verb::Pull(_) | Verb::Completion(_) | Verb::Man(_) => false,
        }
    }
}

impl Verb {
    /// Its name, for reports.
    pub fn name(&self) -> &'static str {
        match self {
            Verb::Pack(_) => "pack",
            Verb::Sign(_) => "sign",
            Verb::Verify(_) => "verify",
            Verb::Inspect(_) => "inspect",
            Verb::Import(_) => "import",
            Verb::List(_) => "list",
            Verb::Gc(_) => "gc",
            Verb::Fsck(_) => "fsck",
            Verb::Push(_) => "push",
            Verb::Pull(_) => "pull",
            Verb::Checkout(_) => "checkout",
            Verb::Plan(_) => "plan",
            Verb::Install(_) => "install",
            Verb::Exec(_) => "exec",
            Verb::Diff(_) => "diff",
            Verb::Qa(_) => "qa",
            Verb::Completion(_) => "completion",
            Verb::Man(_) => "man",
        }
    }
}

/// What is trusted.
#[derive(Debug, Args)]
#[command(next_help_heading = "Trust")]
pub struct Trusted {
    /// File with the keys that are trusted (ssh-keygen(1), ALLOWED SIGNERS)
    #[arg(long, value_name = "FILE")]
    pub allowed_signers: Option<PathBuf>,
    /// Identity that the signer must have in that file
    #[arg(long, value_name = "ID")]
    pub identity: Option<String>,
    /// Identity that signers of templates from which it derives must have; whoever is listed when not given (repeatable)
    #[arg(long, value_name = "ID")]
    pub parent_identity: Vec<String>,
    /// Keys that are revoked: a KRL, or a list of public keys
    #[arg(long, value_name = "FILE")]
    pub revocation: Option<PathBuf>,
    /// Digest that the image index must have
    #[arg(long, value_name = "sha256:…")]
    pub digest: Option<String>,
    /// Time for which the validity of keys is checked, like 20261231 or 20261231235959Z [default: now]
    #[arg(long, value_name = "TIME")]
    pub verify_time: Option<String>,
}

/// What is trusted, and how servers are asked for it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Servers")]
pub struct Trust {
    #[command(flatten)]
    pub trusted: Trusted,
    /// Ask no server: what an oci:// reference names by its digest, or --digest does, has to be in the store
    #[arg(long, help_heading = "Servers")]
    pub offline: bool,
    #[command(flatten)]
    pub registry: Registries,
}

/// How servers are spoken to.
#[derive(Debug, Args)]
#[command(next_help_heading = "Servers")]
pub struct Registries {
    /// Speak HTTP without TLS with the registry of an oci:// reference, and take http:// addresses: for tests, and for servers on this machine
    #[arg(long)]
    pub plain_http: bool,
}
