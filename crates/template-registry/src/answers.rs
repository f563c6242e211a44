// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What a server's answers mean

use serde::Deserialize;
use template_bundle::{Error, Kind};
use ureq::http::Response;
use ureq::{Body, Error as HttpError};

/// How much of what a server says about a failure is read, bytes.
const MAX_COMPLAINT: u64 = 64 << 10;

/// Whether it may be another time.
pub fn may_pass(error: &HttpError) -> bool {
    matches!(
        error,
        HttpError::Io(_)
            | HttpError::Timeout(_)
            | HttpError::ConnectionFailed
            | HttpError::Protocol(_)
            | HttpError::HostNotFound
    )
}

/// The same of a status.
pub fn may_pass_with(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

/// What an error says, without the address: there may be a proof of who one is in it.
pub fn words(error: &HttpError) -> String {
    match error {
        HttpError::RequireHttpsOnly(_) => "it leads to an address without TLS".to_owned(),
        other => match other.to_string() {
            text if text.contains("://") => "it leads to an address that cannot be used".to_owned(),
            text => text,
        },
    }
}

/// An error of the connection.
pub fn unreachable(doing: &str, what: &str, host: &str, error: &HttpError) -> Error {
    let hint = match error {
        HttpError::HostNotFound => "check its name",
        HttpError::Rustls(_) | HttpError::Tls(_) => {
            "give its certificate's authority to the system, or as /etc/containers/certs.d/HOST/NAME.crt; \
             --plain-http is for servers without TLS"
        }
        HttpError::Io(e) if e.to_string().contains("InvalidContentType") => {
            return Error::new(Kind::Usage, format!("{doing}: {what} {host}: it answers without TLS"))
                .hint("--plain-http is for servers without TLS, such as one on this machine");
        }
        HttpError::Io(e) if e.to_string().contains("certificate") => {
            "give its certificate's authority to the system, or as /etc/containers/certs.d/HOST/NAME.crt; \
             --plain-http is for servers without TLS"
        }
        _ => {
            "see that it runs and can be reached from here, and which proxy the environment names, then try again"
        }
    };
    Error::new(Kind::Network, format!("{doing}: {what} {host}: {}", words(error))).hint(hint)
}

/// An error for a status that was not expected.
pub fn refused(doing: &str, server: &str, response: Response<Body>) -> Error {
    let status = response.status();
    let what = complaint(response);
    let message = match what.is_empty() {
        true => format!("{doing}: the {server} says {status}"),
        false => format!("{doing}: the {server} says {status}: {what}"),
    };
    match status.as_u16() {
        401 | 403 => Error::new(Kind::Privilege, message).hint(
            "log in with 'podman login', 'skopeo login' or 'docker login', or write auth.json as they do, as the same user or with \
             REGISTRY_AUTH_FILE kept by sudo, and see that the login may do this",
        ),
        404 => Error::new(Kind::NotFound, message).hint("check the address: host, repository and tag"),
        405 | 415 | 501 if server == "registry" => {
            Error::new(Kind::Refused, message).hint("the registry does not take this: use one for OCI 1.1 artifacts")
        }
        413 => Error::new(Kind::Refused, message)
            .hint(format!("the {server} or a proxy before it has a limit that is too small")),
        _ => Error::new(Kind::Network, message).hint("try again; when it stays, ask who runs it"),
    }
}

/// What it says about it, in one line.
fn complaint(response: Response<Body>) -> String {
    #[derive(Deserialize)]
    struct Complaints {
        errors: Vec<Complaint>,
    }
    #[derive(Deserialize)]
    struct Complaint {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let bytes =
        response.into_body().into_with_config().limit(MAX_COMPLAINT).read_to_vec().unwrap_or_default();
    let Ok(complaints) = serde_json::from_slice::<Complaints>(&bytes) else { return String::new() };
    let each: Vec<String> = complaints
        .errors
        .iter()
        .take(3)
        .map(|e| if e.message.is_empty() { e.code.clone() } else { e.message.clone() })
        .collect();
    each.join("; ").escape_debug().to_string().chars().take(300).collect()
}
