// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Devices without root
//!
//! Nobody makes device nodes in a user namespace. There an empty file stands for one, with an attribute that says for which:
//! it moves along through overlays, copies and hard links, and whoever reads the tree as a whole finds the device.
//! No tree may have the attribute itself.

use crate::bytes::Bytes;
use crate::error::{Error, Kind, Result};
use crate::ids;
use crate::toc::Node;

/// The attribute of a file that stands for a device. Its value is `char` or `block`, and the two numbers.
pub const ATTRIBUTE: &str = "user.isar-template.device";

/// The value of the attribute; none for what is no device.
pub fn describe(node: &Node) -> Option<String> {
    match node {
        Node::CharDevice { major, minor } => Some(format!("char {major} {minor}")),
        Node::BlockDevice { major, minor } => Some(format!("block {major} {minor}")),
        _ => None,
    }
}

fn parse(value: &[u8]) -> Option<Node> {
    let mut words = std::str::from_utf8(value).ok()?.split(' ');
    let kind = words.next()?;
    let (major, minor) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let node = match kind {
        "char" => Node::CharDevice { major, minor },
        "block" => Node::BlockDevice { major, minor },
        _ => return None,
    };
    // 0:0 would be overlayfs's mark for a deleted file
    (words.next().is_none() && (major, minor) != (0, 0)).then_some(node)
}

/// Takes the attribute out of those of a file, and gives the device that the file stands for.
pub(crate) fn take(path: &str, xattrs: &mut Vec<(Bytes, Bytes)>) -> Result<Option<Node>> {
    let Some(at) = xattrs.iter().position(|(name, _)| name.0 == ATTRIBUTE.as_bytes()) else {
        return Ok(None);
    };
    let (_, value) = xattrs.remove(at);
    match parse(&value.0) {
        Some(node) if ids::map().is_some() => Ok(Some(node)),
        Some(_) => Err(Error::new(
            Kind::Refused,
            format!("'{path}' is an empty file that stands for a device: the tree was made without root"),
        )
        .hint("read it as its maker does: unshare --map-root-user --map-auto isar-template …; or make the tree with root")),
        None => Err(Error::new(
            Kind::Refused,
            format!("'{path}' has an attribute '{ATTRIBUTE}' that means no device"),
        )
        .hint("remove the attribute: setfattr -x")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_described_and_found_again() {
        for node in
            [Node::CharDevice { major: 1, minor: 3 }, Node::BlockDevice { major: 259, minor: 1048575 }]
        {
            let text = describe(&node).unwrap();
            assert_eq!(parse(text.as_bytes()), Some(node));
        }
        assert_eq!(describe(&Node::Fifo), None);
        for wrong in ["", "char", "char 1", "char 1 x", "char 1 3 5", "pipe 1 3", "char 0 0", "char -1 3"] {
            assert_eq!(parse(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
