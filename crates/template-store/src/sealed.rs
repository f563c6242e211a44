// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Documents with a digest of themselves
//!
//! What the store notes is signed by nobody. The digest in it is not against people, who can write another one, but finds
//! what disks and memory do.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use template_bundle::{Digest, Error, Kind, Result};

#[derive(Serialize, Deserialize)]
struct Sealed<T> {
    #[serde(flatten)]
    document: T,
    /// Of the document without it. Older helpers wrote none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seal: Option<Digest>,
}

/// A document as JSON, with its digest.
pub(crate) fn write<T: Serialize>(document: &T) -> Result<Vec<u8>> {
    let internal = |e: serde_json::Error| Error::new(Kind::Internal, e.to_string());
    let seal = Some(digest(document)?);
    serde_json::to_vec(&Sealed { document, seal }).map_err(internal)
}

/// Reads a document, and compares it with its digest.
pub(crate) fn read<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let sealed: Sealed<T> = serde_json::from_slice(bytes).map_err(|e| Error::damaged(e.to_string()))?;
    match sealed.seal {
        Some(seal) if seal != digest(&sealed.document)? => {
            Err(Error::damaged("it is not as it was when it was written"))
        }
        _ => Ok(sealed.document),
    }
}

fn digest<T: Serialize>(document: &T) -> Result<Digest> {
    let json = serde_json::to_vec(document).map_err(|e| Error::new(Kind::Internal, e.to_string()))?;
    Ok(Digest::of(&json))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Document {
        name: String,
    }

    #[test]
    fn what_has_changed_is_found() {
        let json = write(&Document { name: "right".into() }).unwrap();
        assert_eq!(read::<Document>(&json).unwrap().name, "right");
        let changed = String::from_utf8(json).unwrap().replace("right", "wrong");
        assert_eq!(read::<Document>(changed.as_bytes()).unwrap_err().kind, Kind::Damaged);
        assert_eq!(read::<Document>(b"{\"name\":\"old\"}").unwrap().name, "old");
        assert!(read::<Document>(b"{").is_err());
    }
}
