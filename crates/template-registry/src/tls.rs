// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Which authorities are trusted
//!
//! Those of the system (or of SSL_CERT_FILE and SSL_CERT_DIR), and those in the directories where podman and docker look
//! for the certificates of a registry.

use std::path::PathBuf;
use std::sync::Arc;

use template_bundle::error::IoContext;
use template_bundle::{Error, Result};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// Below them is a folder for each registry, with *.crt files.
const FOLDERS: [&str; 2] = ["/etc/containers/certs.d", "/etc/docker/certs.d"];

/// For a registry.
pub fn config(host: &str) -> Result<TlsConfig> {
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        log::debug!("certificates of the system: {error}");
    }
    let mut roots: Vec<Certificate<'static>> =
        system.certs.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
    for folder in FOLDERS {
        roots.extend(certificates_in(&PathBuf::from(folder).join(host))?);
    }
    Ok(TlsConfig::builder().root_certs(RootCerts::Specific(Arc::new(roots))).build())
}

fn certificates_in(folder: &std::path::Path) -> Result<Vec<Certificate<'static>>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(vec![]) };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let mut out = Vec::new();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|e| e == "crt")) {
        let bytes = std::fs::read(path).doing("reading certificates", path)?;
        for item in parse_pem(&bytes) {
            let wrong = |e| {
                Error::usage(format!("'{}' is no certificate in the PEM format: {e}", path.display()))
                    .hint("remove it, or convert it with 'openssl x509 -inform der'")
            };
            if let PemItem::Certificate(certificate) = item.map_err(wrong)? {
                out.push(certificate);
            }
        }
    }
    Ok(out)
}
