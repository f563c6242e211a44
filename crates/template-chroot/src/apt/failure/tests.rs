// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
use super::*;

const NOW: &str = "2026-11-28T17:32:00Z";

/// As apt 2.6 says it, unless a line says otherwise.
#[test]
fn what_apt_says_is_understood() {
    let table = [
        (
            "E: Release file for http://m.example/debian/dists/bookworm-updates/InRelease is expired (invalid since 1d 1h 50min 0s). Updates for this repository will not be applied.",
            Fault::Expired,
            Some("http://m.example/debian bookworm-updates"),
            "its release data has expired on 2026-11-27 15:42 UTC",
        ),
        (
            "E: Release file for http://m.example/dists/x/InRelease is not valid yet (invalid for another 10d 9h 59min 50s). Updates for this repository will not be applied.",
            Fault::NotYetValid,
            Some("http://m.example x"),
            "its release data is of 2026-12-09 03:31 UTC, and the clock of this machine says 2026-11-28 17:32 UTC",
        ),
        (
            "W: Conflicting distribution: http://m.example stable InRelease (expected bookworm but got trixie)\n\
             E: Repository 'http://m.example stable InRelease' changed its 'Codename' value from 'bookworm' to 'trixie'",
            Fault::Changed,
            Some("http://m.example stable"),
            "it has changed its 'Codename' value from 'bookworm' to 'trixie'",
        ),
        (
            "Err:1 http://m.example x InRelease\n  The following signatures couldn't be verified because the public key is not available: NO_PUBKEY 5E7CE7A2250745B2\n\
             W: GPG error: http://m.example x InRelease: The following signatures couldn't be verified because the public key is not available: NO_PUBKEY 5E7CE7A2250745B2\n\
             E: The repository 'http://m.example x InRelease' is not signed.",
            Fault::KeyUnknown,
            Some("http://m.example x"),
            "it is signed with key 5E7CE7A2250745B2, which is not in KEYRING",
        ),
        // the lists of before are there
        (
            "W: An error occurred during the signature verification. The repository is not updated and the previous index files will be used. GPG error: http://m.example x InRelease: The following signatures couldn't be verified because the public key is not available: NO_PUBKEY 5E7CE7A2250745B2",
            Fault::KeyUnknown,
            Some("http://m.example x"),
            "it is signed with key 5E7CE7A2250745B2, which is not in KEYRING",
        ),
        // apt 3 with sqv
        (
            "W: OpenPGP signature verification failed: http://m.example x InRelease: Sub-process /usr/bin/sqv returned an error code (1), error message is: Missing key 0ADDB38D3E220D6142F4CD815E7CE7A2250745B2, which is needed to verify signature.\n\
             E: The repository 'http://m.example x InRelease' is not signed.",
            Fault::KeyUnknown,
            Some("http://m.example x"),
            "it is signed with key 0ADDB38D3E220D6142F4CD815E7CE7A2250745B2, which is not in KEYRING",
        ),
        (
            "W: OpenPGP signature verification failed: http://m.example x InRelease: Sub-process /usr/bin/sqv returned an error code (1), error message is: Signing key on 15058500A0235D97F5D10063B188E2B695BD4743 is bad:            The primary key is not live   because: Expired on 2026-02-04T10:25:46Z\n\
             E: The repository 'http://m.example x InRelease' is not signed.",
            Fault::KeyExpired,
            Some("http://m.example x"),
            "it is signed with key 15058500A0235D97F5D10063B188E2B695BD4743, which has expired",
        ),
        (
            "W: OpenPGP signature verification failed: http://m.example x InRelease: Sub-process /usr/bin/sqv returned an error code (1), error message is:\n   \
             Signing key on 15058500A0235D97F5D10063B188E2B695BD4743 is bad:\n     Invalid key: \"certificate is revoked\"\n\
             E: The repository 'http://m.example x InRelease' is not signed.",
            Fault::KeyRevoked,
            Some("http://m.example x"),
            "it is signed with key 15058500A0235D97F5D10063B188E2B695BD4743, which was revoked",
        ),
        (
            "W: OpenPGP signature verification failed: http://m.example x InRelease: Sub-process /usr/bin/sqv returned an error code (1), error message is: Signing key on CA8BB4727A47B4D09B4EE8969386B48A1A693C5C is not bound:            No binding signature at time 2026-09-18T22:16:53Z   because: Policy rejected non-revocation signature (PositiveCertification) requiring second pre-image resistance   because: SHA1 is not considered secure since 2026-02-01T00:00:00Z",
            Fault::KeyWeak,
            Some("http://m.example x"),
            "its signature is too weak: Signing key on CA8BB4727A47B4D09B4EE8969386B48A1A693C5C is not bound: No binding signature at time 2026-09-18T22:16:53Z because: Policy rejected non-revocation signature (PositiveCertification) requiring second pre-image resistance because: SHA1 is not considered secure since 2026-02-01T00:00:00Z",
        ),
        (
            "W: OpenPGP signature verification failed: http://m.example x InRelease: Sub-process /usr/bin/sqv returned an error code (1), error message is: Error: Policy rejected packet type   Caused by:       Signature Packet v3 is not considered secure since 2026-02-01T00:00:00Z",
            Fault::KeyWeak,
            Some("http://m.example x"),
            "its signature is too weak: Error: Policy rejected packet type Caused by: Signature Packet v3 is not considered secure since 2026-02-01T00:00:00Z",
        ),
        (
            "W: OpenPGP signature verification failed: http://m.example x InRelease: Sub-process /usr/bin/sqv returned an error code (1), error message is: Signing key on 15058500A0235D97F5D10063B188E2B695BD4743 is not bound:            No binding signature at time 2026-09-18T22:16:53Z",
            Fault::KeyUnknown,
            Some("http://m.example x"),
            "it is signed with key 15058500A0235D97F5D10063B188E2B695BD4743, which is not in KEYRING",
        ),
        (
            "W: OpenPGP signature verification failed: http://m.example x InRelease: Sub-process /usr/bin/sqv returned an error code (1), error message is: Verifying signature:            Not live until 2026-12-04T10:25:46Z",
            Fault::NotYetValid,
            Some("http://m.example x"),
            "it is signed at 2026-12-04T10:25:46Z, and the clock of this machine says 2026-11-28 17:32 UTC",
        ),
        (
            "W: OpenPGP signature verification failed: http://m.example x InRelease: Sub-process /usr/bin/sqv returned an error code (1), error message is: Verifying signature:            Message has been manipulated",
            Fault::SignatureWrong,
            Some("http://m.example x"),
            "OpenPGP signature verification failed: http://m.example x InRelease: Sub-process /usr/bin/sqv returned an error code (1), error message is: Verifying signature: Message has been manipulated",
        ),
        (
            "W: GPG error: http://m.example x InRelease: The following signatures were invalid: EXPKEYSIG F06F9AD2D474E051 old@example.org\n\
             E: The repository 'http://m.example x InRelease' is not signed.",
            Fault::KeyExpired,
            Some("http://m.example x"),
            "it is signed with key F06F9AD2D474E051, which has expired",
        ),
        (
            "W: GPG error: http://m.example x InRelease: The following signatures were invalid: BADSIG F06F9AD2D474E051 a@example.org",
            Fault::SignatureWrong,
            Some("http://m.example x"),
            "GPG error: http://m.example x InRelease: The following signatures were invalid: BADSIG F06F9AD2D474E051 a@example.org",
        ),
        (
            "W: GPG error: http://m.example x InRelease: The following signatures were invalid: 15058500A0235D97F5D10063B188E2B695BD4743",
            Fault::KeyWeak,
            Some("http://m.example x"),
            "its signature is too weak: GPG error: http://m.example x InRelease: The following signatures were invalid: 15058500A0235D97F5D10063B188E2B695BD4743",
        ),
        (
            "E: The repository 'http://m.example stable InRelease' is not signed.",
            Fault::Unsigned,
            Some("http://m.example stable"),
            "it is not signed",
        ),
        (
            "E: The repository 'file:/x ./ Release' does not have a Release file.",
            Fault::Unsigned,
            Some("file:/x ./"),
            "it is not signed",
        ),
        (
            "E: Failed to fetch http://m.example/dists/x/main/Packages  Hash Sum mismatch\n   Hashes of expected file:\n    - Filesize:314 [weak]\n",
            Fault::Damaged,
            Some("http://m.example/dists/x/main/Packages"),
            "Failed to fetch http://m.example/dists/x/main/Packages Hash Sum mismatch",
        ),
        (
            "E: Failed to fetch http://m.example/dists/x/InRelease  Clearsigned file isn't valid, got 'NOSPLIT' (does the network require authentication?)\n\
             E: The repository 'http://m.example x InRelease' is not signed.",
            Fault::Damaged,
            Some("http://m.example x"),
            "Failed to fetch http://m.example/dists/x/InRelease Clearsigned file isn't valid, got 'NOSPLIT' (does the network require authentication?)",
        ),
        (
            "Err:1 http://m.example x InRelease\n  401  Unauthorized [IP: 127.0.0.1 1]\n\
             E: Failed to fetch http://user:secret@m.example/dists/x/InRelease  401  Unauthorized [IP: 127.0.0.1 1]\n\
             E: The repository 'http://m.example x InRelease' is not signed.",
            Fault::Denied,
            Some("http://m.example x"),
            "Failed to fetch http://m.example/dists/x/InRelease 401 Unauthorized [IP: 127.0.0.1 1]",
        ),
        (
            "Err:2 http://m.example/debian nonsuch Release\n  404  Not Found [IP: 1 80]\nE: The repository 'http://m.example/debian nonsuch Release' does not have a Release file.",
            Fault::Missing,
            Some("http://m.example/debian nonsuch"),
            "http://m.example/debian nonsuch Release 404 Not Found [IP: 1 80]",
        ),
        (
            "E: Failed to fetch http://m.example/pool/y_1_all.deb  404  File not found [IP: 1 80]",
            Fault::Missing,
            Some("http://m.example/pool/y_1_all.deb"),
            "Failed to fetch http://m.example/pool/y_1_all.deb 404 File not found [IP: 1 80]",
        ),
        (
            "E: Failed to fetch http://m.example/pool/y_1_all.deb  File has unexpected size (314 != 628). Mirror sync in progress? [IP: 1 80]",
            Fault::Damaged,
            Some("http://m.example/pool/y_1_all.deb"),
            "Failed to fetch http://m.example/pool/y_1_all.deb File has unexpected size (314 != 628). Mirror sync in progress? [IP: 1 80]",
        ),
        (
            "E: Failed to fetch https://m.example/dists/x/InRelease  Certificate verification failed: The certificate is NOT trusted. The certificate issuer is unknown.  Could not handshake: Error in the certificate verification. [IP: 1 443]",
            Fault::Certificate,
            Some("https://m.example x"),
            "Failed to fetch https://m.example/dists/x/InRelease Certificate verification failed: The certificate is NOT trusted. The certificate issuer is unknown. Could not handshake: Error in the certificate verification. [IP: 1 443]",
        ),
        (
            "E: Failed to fetch http://m.example/y.deb  Error writing - write (28: No space left on device)",
            Fault::NoSpace,
            Some("http://m.example/y.deb"),
            "Failed to fetch http://m.example/y.deb Error writing - write (28: No space left on device)",
        ),
        (
            "W: Failed to fetch http://m.example/dists/x/InRelease  Temporary failure resolving 'm.example'",
            Fault::Unreachable,
            Some("http://m.example x"),
            "Failed to fetch http://m.example/dists/x/InRelease Temporary failure resolving 'm.example'",
        ),
        (
            "E: Some index files failed to download. They have been ignored, or old ones used instead.",
            Fault::Unknown,
            None,
            "Some index files failed to download. They have been ignored, or old ones used instead",
        ),
        (
            "E: Failed to fetch http://m.example/dists/x/InRelease  SECURITY: URL redirect target contains control characters, rejecting.\n\
             E: Some index files failed to download. They have been ignored, or old ones used instead.",
            Fault::Unknown,
            Some("http://m.example x"),
            "Failed to fetch http://m.example/dists/x/InRelease SECURITY: URL redirect target contains control characters, rejecting",
        ),
        (
            "E: Failed to fetch http://m.example/dists/x/InRelease  503  Service Unavailable [IP: 1 80]",
            Fault::Unreachable,
            Some("http://m.example x"),
            "Failed to fetch http://m.example/dists/x/InRelease 503 Service Unavailable [IP: 1 80]",
        ),
        (
            "E: Conflicting values set for option Signed-By regarding source http://m.example/ x: /a.gpg != /b.gpg\n\
             E: The list of sources could not be read.",
            Fault::Sources,
            Some("http://m.example/"),
            "package sources: Conflicting values set for option Signed-By regarding source http://m.example/ x: /a.gpg != /b.gpg",
        ),
        (
            "E: Malformed entry 1 in list file /run/isar-template/remote.d/remote-sources.list.d-x.list ([option] not assignment)\n\
             E: The list of sources could not be read.",
            Fault::Sources,
            None,
            "package sources: '/etc/apt/sources.list.d/x.list' has a malformed entry ([option] not assignment)",
        ),
        (
            "E: Malformed entry 1 in list file /run/isar-template/all.d/local-sources.list (Component)",
            Fault::Sources,
            None,
            "package sources: '/etc/apt/sources.list' has a malformed entry (Component)",
        ),
        (
            "E: Malformed entry 1 in list file /run/isar-template/all.d/given-remote-001.list (Component)",
            Fault::Sources,
            None,
            "package sources: file 2 of --sources has a malformed entry (Component)",
        ),
        (
            "E: Unable to parse package file /run/isar-template/all.d/remote-sources.list.d-x.sources (1)\n\
             E: The list of sources could not be read.",
            Fault::Sources,
            None,
            "package sources: '/etc/apt/sources.list.d/x.sources' cannot be read",
        ),
    ];
    let now: Timestamp = NOW.parse().unwrap();
    for (output, fault, repository, what) in table {
        let got = failure(output, now, &|_| "KEYRING".to_owned()).unwrap();
        assert_eq!(
            (got.fault, got.repository.as_deref(), got.what.as_str()),
            (fault, repository, what),
            "{output}"
        );
    }
    // what is a list and no source
    let list = "E: Unable to parse package file /run/isar-template/apt/lists/m.example_Packages (1)";
    assert_eq!(failure(list, now, &|_| String::new()), None);
    assert_eq!(failure("E: dpkg was interrupted", now, &|_| String::new()), None);
}

#[test]
fn every_text_of_the_table_counts() {
    for (at, (fault, texts)) in TABLE.iter().enumerate() {
        for (_, later) in TABLE.iter().skip(at + 1) {
            let hidden = later.iter().find(|later| texts.iter().any(|text| later.contains(text)));
            assert_eq!(hidden, None, "{fault:?}");
        }
    }
}

#[test]
fn credentials_are_left_out() {
    let table = [
        ("a http://u:p@h:1/x b", "a http://h:1/x b"),
        ("'https://u@h' http://u:p@ss@h", "'https://h' http://h"),
        ("http://h/a@b", "http://h/a@b"),
        ("a@b", "a@b"),
    ];
    for (text, expected) in table {
        assert_eq!(without_credentials(text), expected);
    }
}
