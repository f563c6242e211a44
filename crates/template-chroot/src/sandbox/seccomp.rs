// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # System calls that a sandbox does without
//!
//! Most of them need a capability that is dropped anyway; denied, they do not even reach the code that would check it.
//! The others need none: kernel keyrings, which no namespace keeps apart; user namespaces, which would give all capabilities
//! anew; bytes put into the input of a terminal; io_uring, bpf and their like, for the faults that were found in them. What
//! programs try and do without is absent (ENOSYS), the rest is forbidden (EPERM).
//!
//! The filter has tables for all architectures whose programs a kernel runs side by side, for an i386 tree on amd64, say. One
//! that it does not know is let through: it is the machine's own, and the capabilities are dropped there as well.

use std::io;

use seccompiler::{BpfProgram, sock_filter};

/// On x86_64, i386, arm64, arm.
type Numbers = [u32; 4];

/// The architecture has no such call.
const NONE: u32 = u32::MAX;

/// As the kernel names them for filters (linux/audit.h), with the column of their numbers.
const ARCHITECTURES: [(u32, usize); 4] =
    [(0xc000_003e, 0), (0x4000_0003, 1), (0xc000_00b7, 2), (0x4000_0028, 3)];

/// Numbers from here on are of the x32 ABI, under which all calls of x86_64 have a second number.
const X32: u32 = 0x4000_0000;

const FORBIDDEN: &[(&str, Numbers)] = &[
    ("acct", [163, 51, 89, 51]),
    ("clock_settime", [227, 264, 112, 262]),
    ("clock_settime64", [NONE, 404, NONE, 404]),
    ("delete_module", [176, 129, 106, 129]),
    ("finit_module", [313, 350, 273, 379]),
    ("init_module", [175, 128, 105, 128]),
    ("ioperm", [173, 101, NONE, NONE]),
    ("iopl", [172, 110, NONE, NONE]),
    ("kexec_file_load", [320, NONE, 294, 401]),
    ("kexec_load", [246, 283, 104, 347]),
    ("mount", [165, 21, 40, 21]),
    ("open_by_handle_at", [304, 342, 265, 371]),
    ("pivot_root", [155, 217, 41, 218]),
    ("quotactl", [179, 131, 60, 131]),
    ("reboot", [169, 88, 142, 88]),
    ("setns", [308, 346, 268, 375]),
    ("settimeofday", [164, 79, 170, 79]),
    ("stime", [NONE, 25, NONE, NONE]),
    ("swapoff", [168, 115, 225, 115]),
    ("swapon", [167, 87, 224, 87]),
    ("syslog", [103, 103, 116, 103]),
    ("umount", [NONE, 22, NONE, NONE]),
    ("umount2", [166, 52, 39, 52]),
    ("vhangup", [153, 111, 58, 111]),
    ("vm86", [NONE, 166, NONE, NONE]),
    ("vm86old", [NONE, 113, NONE, NONE]),
];

const ABSENT: &[(&str, Numbers)] = &[
    ("add_key", [248, 286, 217, 309]),
    ("bpf", [321, 357, 280, 386]),
    ("clone3", [435, 435, 435, 435]),
    ("fsconfig", [431, 431, 431, 431]),
    ("fsmount", [432, 432, 432, 432]),
    ("fsopen", [430, 430, 430, 430]),
    ("fspick", [433, 433, 433, 433]),
    ("io_uring_enter", [426, 426, 426, 426]),
    ("io_uring_register", [427, 427, 427, 427]),
    ("io_uring_setup", [425, 425, 425, 425]),
    ("keyctl", [250, 288, 219, 311]),
    ("lookup_dcookie", [212, 253, 18, 249]),
    ("mount_setattr", [442, 442, 442, 442]),
    ("move_mount", [429, 429, 429, 429]),
    ("name_to_handle_at", [303, 341, 264, 370]),
    ("open_tree", [428, 428, 428, 428]),
    ("open_tree_attr", [467, 467, 467, 467]),
    ("perf_event_open", [298, 336, 241, 364]),
    ("quotactl_fd", [443, 443, 443, 443]),
    ("request_key", [249, 287, 218, 310]),
    ("userfaultfd", [323, 374, 282, 388]),
];

const CLONE: Numbers = [56, 120, 220, 120];
const IOCTL: Numbers = [16, 54, 29, 54];
const SOCKET: Numbers = [41, 359, 198, 281];
const UNSHARE: Numbers = [272, 310, 97, 337];

/// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET.
const NAMESPACES: u32 = 0x7e02_0000;
/// Among the flags of clone, this is part of a signal's number.
const CLONE_NEWTIME: u32 = 0x80;

/// Types into the terminal; selects and pastes on a console; makes a terminal something else.
const TERMINAL_IOCTLS: [u32; 3] = [0x5412, 0x541c, 0x5423]; // TIOCSTI, TIOCLINUX, TIOCSETD

/// AF_UNSPEC, UNIX, INET, INET6, NETLINK. Of the others, vsock reaches the hypervisor from any network namespace.
const FAMILIES: [u32; 5] = [0, 1, 2, 10, 16];

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
const EAFNOSUPPORT: u32 = 97;

/// Holds for this process and all that it will start. Needs no_new_privs.
pub(super) fn restrict() -> io::Result<()> {
    seccompiler::apply_filter(&program()).map_err(|e| io::Error::other(e.to_string()))
}

// of struct seccomp_data; all of these architectures have the low half of an argument first
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENT: [u32; 2] = [16, 24];

// of struct bpf_insn: load a word, jump if equal, if not less, if a bit is set, return
const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const EQUAL: u16 = 0x15;
const AT_LEAST: u16 = 0x35;
const ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;

fn instruction(code: u16, k: u32, (jt, jf): (u8, u8)) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

fn load(offset: u32) -> sock_filter {
    instruction(LOAD, offset, (0, 0))
}

fn finish(action: u32) -> sock_filter {
    instruction(RETURN, action, (0, 0))
}

/// Ends with an error if the loaded word compares.
fn deny_if(test: u16, value: u32, errno: u32) -> [sock_filter; 2] {
    [instruction(test, value, (0, 1)), finish(ERRNO | errno)]
}

fn program() -> BpfProgram {
    let mut program = vec![load(ARCHITECTURE)];
    for (architecture, column) in ARCHITECTURES {
        let block = block(column);
        program.push(instruction(EQUAL, architecture, (1, 0)));
        program.push(instruction(JUMP, block.len() as u32, (0, 0)));
        program.extend(block);
    }
    program.push(finish(ALLOW));
    program
}

/// What is decided for one architecture; always returns.
fn block(column: usize) -> BpfProgram {
    let mut block = vec![load(NUMBER)];
    if column == 0 {
        block.extend(deny_if(AT_LEAST, X32, ENOSYS));
    }
    for (calls, errno) in [(FORBIDDEN, EPERM), (ABSENT, ENOSYS)] {
        for (_, numbers) in calls.iter().filter(|(_, numbers)| numbers[column] != NONE) {
            block.extend(deny_if(EQUAL, numbers[column], errno));
        }
    }
    let namespaces = |bits| deny_if(ANY_BIT, bits, EPERM).to_vec();
    let ioctls = TERMINAL_IOCTLS.iter().flat_map(|request| deny_if(EQUAL, *request, EPERM)).collect();
    let mut families = Vec::new();
    for (index, family) in FAMILIES.iter().enumerate() {
        // over the rest of them and the error
        families.push(instruction(EQUAL, *family, ((FAMILIES.len() - index) as u8, 0)));
    }
    families.push(finish(ERRNO | EAFNOSUPPORT));
    for (numbers, argument, tests) in [
        (CLONE, 0, namespaces(NAMESPACES)),
        (UNSHARE, 0, namespaces(NAMESPACES | CLONE_NEWTIME)),
        (IOCTL, 1, ioctls),
        (SOCKET, 0, families),
    ] {
        // the load, the tests, and the return
        block.push(instruction(EQUAL, numbers[column], (0, tests.len() as u8 + 2)));
        block.push(load(ARGUMENT[argument]));
        block.extend(tests);
        block.push(finish(ALLOW));
    }
    block.push(finish(ALLOW));
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would do with it.
    fn verdict(architecture: u32, number: u32, arguments: [u32; 2]) -> u32 {
        let (program, mut at, mut word) = (program(), 0, 0);
        loop {
            let i = &program[at];
            at += 1;
            let jump = |yes: bool| usize::from(if yes { i.jt } else { i.jf });
            match i.code {
                LOAD => {
                    word = match i.k {
                        NUMBER => number,
                        ARCHITECTURE => architecture,
                        16 => arguments[0],
                        24 => arguments[1],
                        other => panic!("no such word: {other}"),
                    }
                }
                JUMP => at += i.k as usize,
                EQUAL => at += jump(word == i.k),
                AT_LEAST => at += jump(word >= i.k),
                ANY_BIT => at += jump(word & i.k != 0),
                RETURN if i.k == ALLOW => return 0,
                RETURN => return i.k & 0xffff,
                other => panic!("no such instruction: {other}"),
            }
        }
    }

    #[test]
    fn each_architecture_has_its_own_numbers() {
        for (architecture, column) in ARCHITECTURES {
            let call = |numbers: Numbers, arguments| verdict(architecture, numbers[column], arguments);
            for (calls, errno) in [(FORBIDDEN, EPERM), (ABSENT, ENOSYS)] {
                for (name, numbers) in calls.iter().filter(|(_, n)| n[column] != NONE) {
                    assert_eq!(call(*numbers, [0, 0]), errno, "{name}");
                }
            }
            assert_eq!(call(CLONE, [17, 0]), 0); // a fork
            assert_eq!(call(CLONE, [0x1000_0011, 0]), EPERM);
            assert_eq!(call(UNSHARE, [0x400, 0]), 0); // CLONE_FILES
            assert_eq!(call(UNSHARE, [0x1000_0000, 0]), EPERM);
            assert_eq!(call(IOCTL, [0, 0x5413]), 0); // the size of the terminal
            assert_eq!(call(IOCTL, [0, 0x5412]), EPERM);
            for family in FAMILIES {
                assert_eq!(call(SOCKET, [family, 0]), 0);
            }
            assert_eq!(call(SOCKET, [40, 0]), EAFNOSUPPORT); // vsock
        }
        assert_eq!(verdict(ARCHITECTURES[0].0, X32 + 1, [0, 0]), ENOSYS);
        assert_eq!(verdict(0xc000_00f3, 40, [0, 0]), 0);
    }

    #[test]
    fn nothing_that_programs_need_is_denied() {
        // read, execve, exit_group, wait4, seccomp
        let needed =
            [[0, 59, 231, 61, 317], [3, 11, 252, 114, 354], [63, 221, 94, 260, 277], [3, 11, 248, 114, 383]];
        for ((architecture, _), numbers) in ARCHITECTURES.iter().zip(needed) {
            assert!(numbers.iter().all(|number| verdict(*architecture, *number, [0, 0]) == 0));
        }
    }
}
