// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Requests to a server
//!
//! Each is tried several times when the network or the server fails, with the login that the server asks for.

use std::collections::HashMap;
use std::io::Read;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use template_bundle::{Digest, Error, Kind, Result};
use ureq::http::{Request, Response, header};
use ureq::{Agent, Body, SendBody};

use crate::answers::{may_pass, may_pass_with, refused, unreachable, words};
use crate::challenge::Challenge;
use crate::login::{self, Login};
use crate::tls;

/// How often a request is tried.
pub(crate) const ATTEMPTS: u32 = 5;
/// How long to wait before the second attempt; twice as long before each further one.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest that a registry may ask to wait, seconds.
const MAX_PAUSE: u64 = 60;
const CONNECT: Duration = Duration::from_secs(15);
/// Without a byte.
const SILENCE: Duration = Duration::from_secs(60);
/// The largest answer of a token server, bytes.
const MAX_TOKEN: u64 = 1 << 20;
const TOKEN_USER: &str = "isar-template";

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Right {
    Pull,
    Push,
}

/// What goes with a request. Files are opened for each attempt.
pub(crate) enum Payload<'a> {
    None,
    Bytes(&'a [u8]),
    Reader(&'a dyn Fn() -> Result<Box<dyn Read + 'a>>, u64),
}

/// A server, and who one is to it.
pub(crate) struct Client {
    agent: Agent,
    base: String,
    pub(crate) host: String,
    /// How it is called when something is wrong.
    pub(crate) what: &'static str,
    login: Option<Login>,
    /// What tokens are asked for, of servers that give some.
    pub(crate) scopes: HashMap<Right, Vec<String>>,
    /// What stands in the Authorization header.
    authorization: Mutex<HashMap<Right, String>>,
}

impl Client {
    /// For what is below a path of a server, or in a repository. Nothing is sent yet.
    pub fn new(what: &'static str, host: &str, path: &str, plain_http: bool) -> Result<Self> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .https_only(!plain_http)
            .tls_config(tls::config(host)?)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .user_agent(concat!("isar-template/", env!("CARGO_PKG_VERSION")))
            .build();
        let scheme = if plain_http { "http" } else { "https" };
        Ok(Self {
            agent: config.new_agent(),
            base: format!("{scheme}://{host}"),
            host: host.to_owned(),
            what,
            login: login::find(host, path)?,
            scopes: HashMap::new(),
            authorization: Mutex::default(),
        })
    }

    /// The address of a path, which may be one already.
    pub(crate) fn address(&self, path: &str) -> String {
        match path.starts_with('/') {
            true => format!("{}{path}", self.base),
            false => path.to_owned(),
        }
    }

    /// Sends a request until there is an answer, whatever it is.
    pub(crate) fn send(
        &self,
        doing: &str,
        right: Right,
        method: &str,
        address: &str,
        headers: &[(header::HeaderName, &str)],
        payload: &Payload<'_>,
    ) -> Result<Response<Body>> {
        let mut attempt = 1;
        let mut asked = false;
        loop {
            let result = self.send_once(right, method, address, headers, payload)?;
            let wait = match result {
                Ok(response) if response.status() == 401 && !asked => {
                    asked = true;
                    self.authorize(doing, right, &response)?;
                    continue;
                }
                Ok(response) if may_pass_with(response.status().as_u16()) && attempt < ATTEMPTS => {
                    log::info!("{doing}: the {} says {}; trying again", self.what, response.status());
                    asked_to_wait(&response)
                }
                Ok(response) => return Ok(response),
                Err(e) if may_pass(&e) && attempt < ATTEMPTS => {
                    log::info!("{doing}: {}; trying again", words(&e));
                    None
                }
                Err(e) => return Err(self.unreachable(doing, &e)),
            };
            pause(attempt, wait);
            attempt += 1;
        }
    }

    fn send_once(
        &self,
        right: Right,
        method: &str,
        address: &str,
        headers: &[(header::HeaderName, &str)],
        payload: &Payload<'_>,
    ) -> Result<std::result::Result<Response<Body>, ureq::Error>> {
        let mut request = Request::builder().method(method).uri(address);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        // an upload may go to another server, which has its own proof in the address
        let own = address.starts_with(&format!("{}/", self.base));
        let authorization = self.authorizations().get(&right).cloned().filter(|_| own);
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let wrong =
            |e| Error::new(Kind::Network, format!("the {} gave an address that is none: {e}", self.what));
        Ok(match payload {
            Payload::None => self.agent.run(request.body(()).map_err(wrong)?),
            Payload::Bytes(bytes) => self.agent.run(request.body(*bytes).map_err(wrong)?),
            Payload::Reader(open, size) => {
                let mut reader = open()?;
                let request = request.header(header::CONTENT_LENGTH, *size);
                self.agent.run(request.body(SendBody::from_reader(&mut reader)).map_err(wrong)?)
            }
        })
    }

    /// Sends an upload once.
    pub(crate) fn send_to(
        &self,
        address: &str,
        headers: &[(header::HeaderName, &str)],
        payload: &Payload<'_>,
    ) -> Result<std::result::Result<Response<Body>, ureq::Error>> {
        self.send_once(Right::Push, "PUT", address, headers, payload)
    }

    fn authorizations(&self) -> std::sync::MutexGuard<'_, HashMap<Right, String>> {
        self.authorization.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Gets what the registry asks for.
    fn authorize(&self, doing: &str, right: Right, response: &Response<Body>) -> Result<()> {
        let asked = response.headers().get_all(header::WWW_AUTHENTICATE);
        let challenges = asked.iter().filter_map(|value| Challenge::parse(value.to_str().ok()?));
        for challenge in challenges {
            let value = match (challenge, &self.login) {
                (Challenge::Basic, Some(Login::Password { user, password })) => basic(user, password),
                (Challenge::Bearer { realm, service }, _) if self.scopes.contains_key(&right) => {
                    format!("Bearer {}", self.token(doing, right, &realm, service.as_deref())?)
                }
                _ => continue,
            };
            self.authorizations().insert(right, value);
            return Ok(());
        }
        // the request will be refused once more, which tells what to do
        Ok(())
    }

    /// Asks a token server.
    fn token(&self, doing: &str, right: Right, realm: &str, service: Option<&str>) -> Result<String> {
        #[derive(Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
        }
        if !realm.starts_with("https://") && self.base.starts_with("https://") {
            return Err(Error::new(
                Kind::Refused,
                format!("{doing}: registry {} wants its login sent without encryption", self.host),
            )
            .hint("it is set up wrong, or somebody else answers for it: the login was not sent"));
        }
        let scopes = self.scopes.get(&right).map(Vec::as_slice).unwrap_or_default();
        let scope = scopes.join(" ");
        let failed = |e: ureq::Error| self.unreachable(&format!("{doing}: getting a token"), &e);
        let response = match &self.login {
            Some(Login::Token(token)) => {
                let form = [
                    ("grant_type", "refresh_token"),
                    ("service", service.unwrap_or_default()),
                    ("client_id", TOKEN_USER),
                    ("scope", &scope),
                    ("refresh_token", token),
                ];
                self.agent.post(realm).send_form(form).map_err(failed)?
            }
            login => {
                let scopes = scopes.iter().map(|scope| ("scope", scope.as_str()));
                let mut request = self.agent.get(realm).query_pairs(scopes);
                if let Some(service) = service {
                    request = request.query("service", service);
                }
                if let Some(Login::Password { user, password }) = login {
                    request = request.header(header::AUTHORIZATION, basic(user, password));
                }
                request.call().map_err(failed)?
            }
        };
        if !response.status().is_success() {
            return Err(self.refused(&format!("{doing}: getting a token"), response));
        }
        let bytes = response.into_body().into_with_config().limit(MAX_TOKEN).read_to_vec().map_err(failed)?;
        let answer: Option<Answer> = serde_json::from_slice(&bytes).ok();
        answer.and_then(|answer| answer.token.or(answer.access_token)).ok_or_else(|| {
            Error::new(Kind::Network, format!("{doing}: the token server of {} gave no token", self.host))
        })
    }

    /// Reads something small: none when it is not there.
    pub(crate) fn document(
        &self,
        doing: &str,
        address: &str,
        accept: &str,
        limit: u64,
    ) -> Result<Option<(Vec<u8>, Digest)>> {
        let mut attempt = 1;
        loop {
            let headers = [(header::ACCEPT, accept)];
            let response = self.send(doing, Right::Pull, "GET", address, &headers, &Payload::None)?;
            match response.status().as_u16() {
                200 => {}
                404 => return Ok(None),
                _ => return Err(self.refused(doing, response)),
            }
            match response.into_body().into_with_config().limit(limit).read_to_vec() {
                Ok(bytes) => {
                    let digest = Digest::of(&bytes);
                    return Ok(Some((bytes, digest)));
                }
                Err(ureq::Error::BodyExceedsLimit(_)) => {
                    return Err(Error::damaged(format!("{doing}: it is larger than {limit} bytes")));
                }
                Err(e) if may_pass(&e) && attempt < ATTEMPTS => {
                    log::info!("{doing}: {}; trying again", words(&e));
                    pause(attempt, None);
                    attempt += 1;
                }
                Err(e) => return Err(self.unreachable(doing, &e)),
            }
        }
    }

    /// Something large, or what begins at an offset of it and ends before another: none when it is not there. The server may
    /// give the whole of it nevertheless.
    pub(crate) fn part(
        &self,
        doing: &str,
        address: &str,
        part: Option<(u64, Option<u64>)>,
    ) -> Result<Option<Response<Body>>> {
        let range = part.map(|(from, to)| {
            let last = to.map(|to| (to - 1).to_string()).unwrap_or_default();
            format!("bytes={from}-{last}")
        });
        let headers: Vec<_> = range.iter().map(|range| (header::RANGE, range.as_str())).collect();
        let response = self.send(doing, Right::Pull, "GET", address, &headers, &Payload::None)?;
        match response.status().as_u16() {
            200 => Ok(Some(response)),
            206 if part.is_some_and(|(from, _)| starts_at(&response, from)) => Ok(Some(response)),
            404 => Ok(None),
            206 => Err(Error::new(
                Kind::Network,
                format!("{doing}: the {} gives another part than asked for", self.what),
            )
            .hint("it, or a proxy before it, is broken: ask who runs it")),
            416 => Err(Error::damaged(format!("{doing}: it is shorter than it should be"))
                .hint("the bundle there is incomplete: its publisher has to put it there again")),
            _ => Err(self.refused(doing, response)),
        }
    }

    /// A part of something, all of it, where the server gives parts.
    pub(crate) fn piece(&self, doing: &str, address: &str, from: u64, to: u64) -> Result<Vec<u8>> {
        let mut attempt = 1;
        loop {
            let response = match self.part(doing, address, Some((from, Some(to))))? {
                Some(response) if response.status() == 206 => response,
                _ => return Err(self.no_more(doing)),
            };
            let mut bytes = Vec::new();
            let mut reader = response.into_body().into_with_config().limit(u64::MAX).reader().take(to - from);
            let why = match reader.read_to_end(&mut bytes) {
                Ok(_) if bytes.len() as u64 == to - from => return Ok(bytes),
                Ok(_) => "it ended early".to_owned(),
                Err(e) => e.to_string(),
            };
            if attempt == ATTEMPTS {
                return Err(Error::new(Kind::Network, format!("{doing}: {why}")).hint("try again"));
            }
            log::info!("{doing}: {why}; trying again");
            pause(attempt, None);
            attempt += 1;
        }
    }

    /// It gave parts, and does not any more.
    pub(crate) fn no_more(&self, doing: &str) -> Error {
        let why = format!("{doing}: the {} has given parts of it, and does not any more", self.what);
        Error::new(Kind::Network, why).hint("try again")
    }

    pub(crate) fn unreachable(&self, doing: &str, error: &ureq::Error) -> Error {
        unreachable(doing, self.what, &self.host, error)
    }

    pub(crate) fn refused(&self, doing: &str, response: Response<Body>) -> Error {
        refused(doing, self.what, response)
    }
}

fn starts_at(response: &Response<Body>, offset: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
    range.is_some_and(|range| range.trim().starts_with(&format!("bytes {offset}-")))
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// Seconds that the registry wants us to wait.
fn asked_to_wait(response: &Response<Body>) -> Option<u64> {
    response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}

/// Waits before the next attempt.
pub(crate) fn pause(attempt: u32, asked: Option<u64>) {
    let own = PAUSE * 2u32.pow(attempt.saturating_sub(1).min(6));
    let asked = Duration::from_secs(asked.unwrap_or(0).min(MAX_PAUSE));
    thread::sleep(own.max(asked));
}
