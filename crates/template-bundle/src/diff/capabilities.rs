// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Capabilities of a file
//!
//! The value of the attribute `security.capability` as getcap(8) prints it.

/// The attribute.
pub const ATTRIBUTE: &[u8] = b"security.capability";

const NAMES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// The text for a value; none if it is not a known form of it.
pub fn text(value: &[u8]) -> Option<String> {
    let word = |at: usize| Some(u32::from_le_bytes(value.get(at * 4..at * 4 + 4)?.try_into().ok()?));
    // two words for each 32 capabilities, and the root of a namespace in version 3
    let (version, words) = (word(0)? >> 24, value.len() / 4);
    if !value.len().is_multiple_of(4) || !matches!((version, words), (1, 3) | (2, 5) | (3, 6)) {
        return None;
    }
    let effective = word(0)? & 1 == 1;
    let wide = |low: Option<u32>, high: Option<u32>| {
        u64::from(low.unwrap_or(0)) | u64::from(high.unwrap_or(0)) << 32
    };
    let (high_permitted, high_inheritable) = if version == 1 { (None, None) } else { (word(3), word(4)) };
    let (permitted, inheritable) = (wide(word(1), high_permitted), wide(word(2), high_inheritable));
    let list = |set: u64| -> Vec<String> {
        let name = |bit: u32| match NAMES.get(bit as usize) {
            Some(name) => format!("cap_{name}"),
            None => format!("cap_{bit}"),
        };
        (0..64).filter(|bit| set >> bit & 1 == 1).map(name).collect()
    };
    let effect = if effective { "e" } else { "" };
    let groups = [
        (permitted & !inheritable, format!("{effect}p")),
        (permitted & inheritable, format!("{effect}ip")),
        (inheritable & !permitted, format!("{effect}i")),
    ];
    let mut out: Vec<String> = groups
        .iter()
        .filter(|(set, _)| *set != 0)
        .map(|(set, flags)| format!("{}={flags}", list(*set).join(",")))
        .collect();
    if let (3, Some(root)) = (version, word(5)) {
        out.push(format!("[rootid={root}]"));
    }
    Some(out.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_as_getcap_prints_them() {
        let value = |words: &[u32]| words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
        for (words, expected) in [
            (&[0x0200_0001, 1 << 13, 0, 0, 0][..], Some("cap_net_raw=ep")),
            (&[0x0200_0000, 1 << 10 | 1 << 12, 0, 0, 0], Some("cap_net_bind_service,cap_net_admin=p")),
            (&[0x0200_0001, 1, 1, 1 << 8, 0], Some("cap_checkpoint_restore=ep cap_chown=eip")),
            (&[0x0300_0001, 1 << 13, 0, 0, 0, 1000], Some("cap_net_raw=ep [rootid=1000]")),
            (&[0x0100_0000, 1, 0], Some("cap_chown=p")),
            (&[0x0200_0001, 1], None),
            (&[0x0900_0001, 1, 0, 0, 0], None),
            (&[], None),
        ] {
            assert_eq!(text(&value(words)).as_deref(), expected, "{words:x?}");
        }
        assert_eq!(text(b"\x01"), None);
    }
}
