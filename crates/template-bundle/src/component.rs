// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # The trees of a component

use crate::manifest::{COMPONENT, Component, Part, TOC_TYPE, Tree};
use crate::oci::Descriptor;

impl Component {
    /// Its trees.
    pub fn trees(&self) -> impl Iterator<Item = &Tree> {
        self.parts().map(|(_, tree)| tree)
    }

    /// Its trees, and what each is.
    pub fn parts(&self) -> impl Iterator<Item = (Part, &Tree)> {
        let base = std::iter::once((Part::Base, &self.tree));
        let changes = self.changes.iter().map(|tree| (Part::Changes, tree));
        base.chain(changes).chain(self.finish.iter().map(|tree| (Part::Finish, tree)))
    }

    /// Those that make up the raw system, or the finished one: the lowest first.
    pub fn parts_of(&self, raw: bool) -> impl Iterator<Item = (Part, &Tree)> {
        self.parts().filter(move |(part, _)| !(raw && *part == Part::Finish))
    }

    /// Descriptors of its blobs, as they stand in the artifact manifest.
    pub fn descriptors(&self) -> Vec<Descriptor> {
        let mut out = Vec::new();
        for tree in self.trees() {
            let mut layer = Descriptor::new(tree.compression.layer_media_type(), tree.digest, tree.size);
            let mut toc = Descriptor::new(TOC_TYPE, tree.toc_digest, tree.toc_size);
            for descriptor in [&mut layer, &mut toc] {
                descriptor.annotations.insert(COMPONENT.into(), self.name.clone());
            }
            out.extend([layer, toc]);
        }
        out
    }
}
