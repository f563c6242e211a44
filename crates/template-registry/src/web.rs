// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Bundles on web servers
//!
//! Any server will do that gives files; one that gives parts of them (RFC 9110, section 14) saves what need not be fetched.
//! Of a tar, its headers are looked at first, which say where the blobs are.

use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use template_bundle::layout::{self, blob_name};
use template_bundle::limits::MAX_UNSIGNED;
use template_bundle::oci::Descriptor;
use template_bundle::pack::Progress;
use template_bundle::{Digest, Error, Kind, Result};
use ureq::Body;
use ureq::http::{Response, header};

use crate::address::Address;
use crate::client::Client;

/// How much of a tar is fetched to look at a header, bytes: what is small often follows it.
const WINDOW: u64 = 64 << 10;

/// A bundle on a web server.
pub struct Web {
    client: Arc<Client>,
    address: Address,
    /// Where the members of a tar are: name to offset and size.
    members: Option<HashMap<String, (u64, u64)>>,
}

/// How much of a bundle is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// What says what it is.
    Documents,
    /// Contents as well.
    All,
}

/// What is known of a bundle at first.
pub(crate) enum Found {
    /// The content of its index.json.
    Index(Vec<u8>),
    /// All of it has been fetched, as the server gives no parts of files: so many bytes.
    All(u64),
}

impl Web {
    /// Nothing is sent yet.
    pub(crate) fn new(address: &Address, plain_http: bool) -> Result<Self> {
        if address.plain && !plain_http {
            return Err(Error::usage(format!("'{address}' is without TLS"))
                .hint("write https://, or say with --plain-http that it may be so"));
        }
        // what was asked for with TLS stays so
        let client =
            Client::new("server", &address.host, address.path.trim_start_matches('/'), address.plain)?;
        Ok(Web { client: Arc::new(client), address: address.clone(), members: None })
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn name(&self) -> String {
        self.address.to_string()
    }

    /// Finds what there is. All of it is fetched only when that is wanted.
    pub(crate) fn look(&mut self, layout: &Path, wanted: Extent, progress: &dyn Progress) -> Result<Found> {
        let index = match self.address.is_tar() {
            true => match self.open_tar()? {
                Opened::Parts(first) => {
                    self.members =
                        Some(layout::members(Path::new(&self.name()), first, &|| progress.advance(0))?);
                    self.small("index.json", MAX_UNSIGNED)?
                }
                Opened::Whole(response) => match wanted {
                    Extent::All => return Ok(Found::All(self.unpack(response, layout, progress)?)),
                    Extent::Documents => {
                        let why = "its server gives no parts of files, and all of it would be fetched to look at it";
                        return Err(Error::usage(format!("'{}': {why}", self.address))
                            .hint("fetch it with pull, and look at that"));
                    }
                },
            },
            false => self.small("index.json", MAX_UNSIGNED)?,
        };
        let (bytes, _) = index.ok_or_else(|| {
            let kind = if self.address.is_tar() { Kind::Damaged } else { Kind::NotFound };
            Error::new(kind, format!("'{}' is no template bundle: it has no index.json", self.address)).hint(
                "give the address of a bundle's tar, which ends with .tar, or of the directory that has its oci-layout, index.json and blobs/",
            )
        })?;
        Ok(Found::Index(bytes))
    }

    fn open_tar(&self) -> Result<Opened> {
        let doing = format!("fetching {}", self.address);
        let target = self.client.address(&self.address.target());
        let response = self.client.part(&doing, &target, Some((0, Some(WINDOW))))?.ok_or_else(|| {
            Error::new(Kind::NotFound, format!("'{}' does not exist", self.address)).hint("check the address")
        })?;
        if response.status() != 206 {
            return Ok(Opened::Whole(response));
        }
        let size = total(&response).ok_or_else(|| {
            Error::new(Kind::Network, format!("{doing}: the server does not say how large it is"))
                .hint("download it with another program, and import the file")
        })?;
        Ok(Opened::Parts(Window {
            client: self.client.clone(),
            target,
            doing,
            size,
            at: 0,
            start: 0,
            bytes: vec![],
        }))
    }

    fn unpack(&self, response: Response<Body>, layout: &Path, progress: &dyn Progress) -> Result<u64> {
        log::info!("{} gives no parts of files: all of {} is fetched", self.client.host, self.address);
        progress.begin("fetching", response.body().content_length().unwrap_or(0));
        let reader = response.into_body().into_with_config().limit(u64::MAX).reader();
        let stream = Stream { reader, doing: format!("fetching {}", self.address) };
        layout::unpack(Path::new(&self.name()), stream, layout, progress)
    }

    /// Something small by its name in the layout.
    fn small(&self, name: &str, limit: u64) -> Result<Option<(Vec<u8>, Digest)>> {
        let doing = format!("fetching {name} of {}", self.address);
        let Some(members) = &self.members else {
            let target = self.client.address(&self.address.below(name));
            return self.client.document(&doing, &target, "*/*", limit);
        };
        let Some((at, size)) = members.get(name).copied() else { return Ok(None) };
        if size > limit {
            return Err(Error::damaged(format!("{doing}: it is larger than {limit} bytes")));
        }
        let target = self.client.address(&self.address.target());
        let bytes = match size {
            0 => Vec::new(),
            _ => self.client.piece(&doing, &target, at, at.saturating_add(size))?,
        };
        let digest = Digest::of(&bytes);
        Ok(Some((bytes, digest)))
    }

    pub(crate) fn document(
        &self,
        what: &str,
        digest: &Digest,
        limit: u64,
    ) -> Result<Option<(Vec<u8>, Digest)>> {
        self.small(&blob_name(digest), limit).map_err(|e| e.within(what))
    }

    pub(crate) fn blob(
        &self,
        doing: &str,
        blob: &Descriptor,
        part: Option<(u64, Option<u64>)>,
    ) -> Result<Response<Body>> {
        let name = blob_name(&blob.digest);
        let lost = || {
            Error::new(Kind::BlobMissing, format!("{doing}: the server does not have it"))
                .hint("the bundle is there in part: its publisher has to put all of it there")
        };
        let Some(members) = &self.members else {
            let target = self.client.address(&self.address.below(&name));
            return self.client.part(doing, &target, part)?.ok_or_else(lost);
        };
        let (at, size) = members.get(&name).copied().ok_or_else(lost)?;
        if size != blob.size {
            return Err(Error::damaged(format!("{doing}: it has {size} bytes, {} are declared", blob.size))
                .hint("the bundle was altered or damaged: its publisher has to put it there again"));
        }
        let (from, to) = part.unwrap_or((0, None));
        self.part_of_tar(doing, at.saturating_add(from), at.saturating_add(to.unwrap_or(size)))
    }

    fn part_of_tar(&self, doing: &str, from: u64, to: u64) -> Result<Response<Body>> {
        let target = self.client.address(&self.address.target());
        match self.client.part(doing, &target, Some((from, Some(to))))? {
            Some(response) if response.status() == 206 => Ok(response),
            _ => Err(self.client.no_more(doing)),
        }
    }
}

enum Opened {
    Parts(Window),
    Whole(Response<Body>),
}

/// How large all of it is, of which a part has come.
fn total(response: &Response<Body>) -> Option<u64> {
    let range = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    range.trim().rsplit_once('/')?.1.parse().ok()
}

fn broken(doing: &str, e: &io::Error) -> Error {
    Error::new(Kind::Network, format!("{doing}: {e}")).hint("try again")
}

/// A file that comes as a whole. Its errors are ours.
struct Stream<R> {
    reader: R,
    doing: String,
}

impl<R: Read> Read for Stream<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buf).map_err(|e| io::Error::other(broken(&self.doing, &e)))
    }
}

/// A file on a server as one that is read here and there.
struct Window {
    client: Arc<Client>,
    target: String,
    doing: String,
    size: u64,
    at: u64,
    /// What has been fetched last, and where it begins.
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    fn here(&self) -> Option<&[u8]> {
        let offset = usize::try_from(self.at.checked_sub(self.start)?).ok()?;
        self.bytes.get(offset..).filter(|rest| !rest.is_empty())
    }
}

impl Read for Window {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.size || buf.is_empty() {
            return Ok(0);
        }
        if self.here().is_none() {
            let to = self.at.saturating_add(WINDOW).min(self.size);
            let found = self.client.piece(&self.doing, &self.target, self.at, to);
            (self.start, self.bytes) = (self.at, found.map_err(io::Error::other)?);
        }
        let rest = self.here().unwrap_or_default();
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        self.at += n as u64;
        Ok(n)
    }
}

impl Seek for Window {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
