// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # The mounts of a sandbox
//!
//! Everything of the host that shall be seen inside is cloned as a detached mount first; then the root is entered by
//! pivot_root and the host's tree detached; only then anything is attached below the new root. So no symbolic link
//! of the tree, absolute or with '..', can lead anywhere but into the tree itself.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rustix::fs::{CWD, Mode, OFlags, StatVfsMountFlags, statvfs};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen,
};

use super::placeholders::Placeholders;
use super::spec::{Bind, OWN_DIR, Root, Spec};

/// Covered by a tmpfs in the namespace of the sandbox, to prepare its root in. Nothing of the host's is needed there.
pub(super) const STAGE: &str = "/sys";

/// Directories that are a file system of their own in every sandbox.
pub(super) const OWN_MOUNTS: [&str; 5] = ["/dev", "/proc", "/run", "/sys", "/tmp"];

/// The usual protections of a mount that is not meant to hold programs or devices.
pub(super) const PLAIN: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);
pub(super) const INERT: MsFlags = PLAIN.union(MsFlags::MS_NOEXEC);

/// For device nodes of the host.
pub(super) const FIXED: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NOEXEC).union(MsFlags::MS_RDONLY);

/// A step that failed, and on what.
#[derive(Debug)]
pub(super) struct StepError {
    pub step: &'static str,
    pub path: PathBuf,
    pub source: io::Error,
}

pub(super) type Step<T> = Result<T, StepError>;

/// Names the step of a failed operation.
pub(super) trait InStep<T> {
    fn step(self, step: &'static str, path: impl AsRef<Path>) -> Step<T>;
}

impl<T, E: Into<io::Error>> InStep<T> for Result<T, E> {
    fn step(self, step: &'static str, path: impl AsRef<Path>) -> Step<T> {
        self.map_err(|e| StepError { step, path: path.as_ref().to_owned(), source: e.into() })
    }
}

/// A detached mount: a clone of one of the host's, or a new one.
pub(super) struct Clone {
    fd: OwnedFd,
    directory: bool,
}

impl Clone {
    pub(super) fn take(source: &Path, recursive: bool) -> Step<Self> {
        let metadata = fs::metadata(source).step("binding", source)?;
        let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
        let fd = rustix::mount::open_tree(CWD, source, flags).step("binding", source)?;
        Ok(Self { fd, directory: metadata.is_dir() })
    }

    /// A file system of the kernel.
    fn fresh(kind: &str, flags: MountAttrFlags) -> io::Result<Self> {
        let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
        // what stands in lists of mounts
        fsconfig_set_string(&context, "source", kind)?;
        fsconfig_create(&context)?;
        let flags = flags | MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        let fd = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags | MountAttrFlags::MOUNT_ATTR_NOEXEC)?;
        Ok(Self { fd, directory: true })
    }

    pub(super) fn attach(&self, target: &Path) -> Step<()> {
        rustix::mount::move_mount(
            self.fd.as_fd(),
            "",
            CWD,
            target,
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS,
        )
        .step("attaching", target)
    }
}

/// A binding of the caller, cloned.
pub(super) struct ClonedBind {
    clone: Clone,
    bind: Bind,
}

pub(super) fn clone_binds(binds: &[Bind]) -> Step<Vec<ClonedBind>> {
    binds
        .iter()
        .map(|bind| Ok(ClonedBind { clone: Clone::take(&bind.source, true)?, bind: bind.clone() }))
        .collect()
}

/// Makes the root and enters it; afterwards no mount of the host is left.
pub(super) fn enter_root(spec: &Spec) -> Step<()> {
    let new_root = Path::new(STAGE).join("root");
    make_dir(&new_root, 0o755)?;
    match &spec.root {
        Root::Tree(tree) => {
            // not recursive: what the host has mounted below the tree stays outside
            Clone::take(tree, false)?.attach(&new_root)?;
            remount(&new_root, MsFlags::MS_NODEV)?;
        }
        Root::Overlay { lowers, upper, work } => {
            let scaffold = Path::new(STAGE).join("scaffold");
            build_scaffold(&scaffold, spec)?;
            let attempt = |unsynced| -> io::Result<()> {
                let mut options = overlay_options(lowers, &scaffold, upper, work)?;
                options.push_str(if spec.user_namespace { IN_USER_NAMESPACE } else { AS_ROOT });
                options.push_str(if unsynced { ",volatile" } else { "" });
                if options.len() > OPTIONS_LIMIT {
                    return Err(io::Error::other("the paths of the layers are too long together"));
                }
                let options = Some(options.as_str());
                Ok(mount(Some("overlay"), &new_root, Some("overlay"), MsFlags::MS_NODEV, options)?)
            };
            match attempt(spec.unsynced) {
                // Linux before 5.10
                Err(e) if spec.unsynced && e.raw_os_error() == Some(nix::errno::Errno::EINVAL as i32) => {
                    attempt(false)
                }
                other => other,
            }
            .step("mounting overlay of", upper)?;
        }
    }
    let old = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .step("opening", "/")?;
    std::env::set_current_dir(&new_root).step("entering", &new_root)?;
    nix::unistd::pivot_root(".", ".").step("making the root of the sandbox", &new_root)?;
    rustix::process::fchdir(&old).step("leaving", "/")?;
    umount2(".", MntFlags::MNT_DETACH).step("detaching the host's tree", "/")?;
    std::env::set_current_dir("/").step("entering", "/")
}

/// Something to mount on for an overlay: its lowest layer, so that nothing of it ever reaches the upper directory.
fn build_scaffold(scaffold: &Path, spec: &Spec) -> Step<()> {
    let below = |path: &Path| scaffold.join(path.strip_prefix("/").unwrap_or(path));
    for own in OWN_MOUNTS {
        make_dir(&below(Path::new(own)), 0o755)?;
    }
    let mut files = Vec::new();
    if spec.deny_services {
        files.push(PathBuf::from(super::services::POLICY));
    }
    if spec.network {
        files.push(PathBuf::from("/etc/resolv.conf"));
    }
    for bind in &spec.binds {
        if bind.source.is_dir() {
            make_dir(&below(&bind.target), 0o755)?;
        } else {
            files.push(bind.target.clone());
        }
    }
    for file in files {
        let path = below(&file);
        if let Some(parent) = path.parent() {
            make_dir(parent, 0o755)?;
        }
        // unlike a placeholder, this must stay: to remove it would put a whiteout into the upper directory
        write_file(&path, b"", 0o444)?;
    }
    Ok(())
}

/// What mount(2) takes.
const OPTIONS_LIMIT: usize = 4095;

const AS_ROOT: &str = ",redirect_dir=off";

/// Overlayfs keeps its state in attributes that are not root's alone, and refuses even a redirect_dir=off beside it.
const IN_USER_NAMESPACE: &str = ",redirect_dir=nofollow,userxattr";

fn overlay_options(lowers: &[PathBuf], scaffold: &Path, upper: &Path, work: &Path) -> io::Result<String> {
    let escape = |path: &Path, special: &[char]| -> io::Result<String> {
        let text = path.to_str().ok_or_else(|| io::Error::other("the path is not UTF-8"))?;
        let mut out = String::with_capacity(text.len());
        for c in text.chars() {
            if special.contains(&c) {
                out.push('\\');
            }
            out.push(c);
        }
        Ok(out)
    };
    let mut layers = Vec::new();
    for lower in lowers {
        layers.push(escape(lower, &['\\', ',', ':'])?);
    }
    layers.push(escape(scaffold, &[])?);
    Ok(format!(
        "lowerdir={},upperdir={},workdir={},metacopy=off,index=off",
        layers.join(":"),
        escape(upper, &['\\', ','])?,
        escape(work, &['\\', ','])?,
    ))
}

/// What a sandbox sees of the kernel.
pub(super) struct Kernel {
    proc: Clone,
    sys: Option<Clone>,
}

/// The step that a container with a masked /proc does not let happen.
pub(super) const MAKING_PROC: &str = "making a view of its processes";

/// Makes these file systems. In a user namespace they can only be had while the host's are still there.
pub(super) fn prepare_kernel(spec: &Spec) -> Step<Kernel> {
    let proc = Clone::fresh("proc", MountAttrFlags::empty()).step(MAKING_PROC, "proc")?;
    let sys = match Clone::fresh("sysfs", MountAttrFlags::MOUNT_ATTR_RDONLY) {
        // not for a user namespace without a network of its own, nor where a container has masked parts of it
        Err(e) if spec.user_namespace && e.kind() == io::ErrorKind::PermissionDenied => None,
        other => Some(other.step("making", "sysfs")?),
    };
    Ok(Kernel { proc, sys })
}

/// /proc, /sys, /run and /tmp. /dev is in its own module.
pub(super) fn mount_system(spec: &Spec, kernel: &Kernel, placeholders: &mut Placeholders) -> Step<()> {
    let proc = placeholders.ensure(Path::new("/proc"), true)?;
    kernel.proc.attach(&proc)?;
    super::limits::few_processes()?;
    for path in ["/proc/bus", "/proc/driver", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/tty"] {
        freeze(Path::new(path))?;
    }
    for path in ["/proc/sysrq-trigger", "/proc/mtrr", "/proc/dynamic_debug"] {
        freeze(Path::new(path))?;
    }
    let sys = placeholders.ensure(Path::new("/sys"), true)?;
    match &kernel.sys {
        Some(kernel) => kernel.attach(&sys)?,
        None => tmpfs(&sys, INERT | MsFlags::MS_RDONLY, "mode=555,size=0")?,
    }

    // on a device these are a tmpfs too: what package scripts leave there is nobody's
    let run = placeholders.ensure(Path::new("/run"), true)?;
    tmpfs(&run, PLAIN, "mode=755,size=10%")?;
    make_dir(Path::new("/run/lock"), 0o1777)?;
    let tmp = placeholders.ensure(Path::new("/tmp"), true)?;
    tmpfs(&tmp, PLAIN, "mode=1777,size=50%")?;

    let own = Path::new(OWN_DIR);
    make_dir(own, 0o755)?;
    for file in &spec.own_files {
        let path = own.join(&file.name);
        if let Some(parent) = path.parent() {
            make_dir(parent, 0o755)?;
        }
        write_file(&path, file.content.as_bytes(), file.mode)?;
        // always the same, or apt would take its caches for outdated in the next sandbox
        set_old(&path)?;
        path.parent().map_or(Ok(()), set_old)?;
    }
    Ok(())
}

fn set_old(path: &Path) -> Step<()> {
    let times = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1));
    fs::File::open(path).and_then(|file| file.set_times(times)).step("setting the time of", path)
}

/// Covers what tells of the host's hardware and kernel, or lets root change it. After /dev is there.
pub(super) fn mask_system() -> Step<()> {
    for path in [
        "/proc/acpi",
        "/proc/asound",
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/key-users",
        "/proc/kmsg",
        "/proc/latency_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/sys/devices/virtual/powercap",
        "/sys/firmware",
        "/sys/fs/selinux",
        "/sys/kernel",
    ] {
        let path = Path::new(path);
        match fs::symlink_metadata(path) {
            Ok(m) if m.is_dir() => tmpfs(path, INERT | MsFlags::MS_RDONLY, "mode=555,size=0")?,
            Ok(_) => {
                bind(Path::new("/dev/null"), path)?;
                remount(path, FIXED)?;
            }
            Err(_) => {}
        }
    }
    Ok(())
}

/// Attaches the caller's binds.
pub(super) fn attach_binds(binds: &[ClonedBind], placeholders: &mut Placeholders) -> Step<()> {
    for ClonedBind { clone, bind } in binds {
        let target = placeholders.ensure(&bind.target, clone.directory)?;
        clone.attach(&target)?;
        let mut flags = PLAIN;
        flags.set(MsFlags::MS_RDONLY, !bind.writable);
        for mount_point in mounts_below(&target)? {
            remount(&mount_point, flags)?;
        }
    }
    Ok(())
}

/// The mount points at and below `target`.
fn mounts_below(target: &Path) -> Step<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mountinfo").step("reading", "/proc/self/mountinfo")?;
    Ok(parse_mount_points(&table).into_iter().filter(|m| m.starts_with(target)).collect())
}

fn parse_mount_points(table: &str) -> Vec<PathBuf> {
    table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|field| {
            let mut out = Vec::new();
            let bytes = field.as_bytes();
            let mut at = 0;
            while at < bytes.len() {
                let octal = field.get(at + 1..at + 4).and_then(|o| u8::from_str_radix(o, 8).ok());
                match (bytes[at], octal) {
                    (b'\\', Some(byte)) => {
                        out.push(byte);
                        at += 4;
                    }
                    (byte, _) => {
                        out.push(byte);
                        at += 1;
                    }
                }
            }
            PathBuf::from(<std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(out))
        })
        .collect()
}

/// Adds flags to those that a mount has already.
pub(super) fn remount(path: &Path, flags: MsFlags) -> Step<()> {
    let has = statvfs(path).step("looking at", path)?.f_flag;
    let mut all = flags | MsFlags::MS_BIND | MsFlags::MS_REMOUNT;
    for (fs_flag, ms_flag) in [
        (StatVfsMountFlags::RDONLY, MsFlags::MS_RDONLY),
        (StatVfsMountFlags::NOSUID, MsFlags::MS_NOSUID),
        (StatVfsMountFlags::NODEV, MsFlags::MS_NODEV),
        (StatVfsMountFlags::NOEXEC, MsFlags::MS_NOEXEC),
        (StatVfsMountFlags::NOATIME, MsFlags::MS_NOATIME),
        (StatVfsMountFlags::NODIRATIME, MsFlags::MS_NODIRATIME),
        (StatVfsMountFlags::RELATIME, MsFlags::MS_RELATIME),
    ] {
        all.set(ms_flag, all.contains(ms_flag) || has.contains(fs_flag));
    }
    mount(None::<&str>, path, None::<&str>, all, None::<&str>).step("restricting", path)
}

/// Makes what is there read-only.
fn freeze(path: &Path) -> Step<()> {
    if !path.exists() {
        return Ok(());
    }
    bind(path, path)?;
    remount(path, INERT | MsFlags::MS_RDONLY)
}

pub(super) fn bind(source: &Path, target: &Path) -> Step<()> {
    mount(Some(source), target, None::<&str>, MsFlags::MS_BIND, None::<&str>).step("binding to", target)
}

pub(super) fn tmpfs(path: &Path, flags: MsFlags, options: &str) -> Step<()> {
    mount(Some("tmpfs"), path, Some("tmpfs"), flags, Some(options)).step("mounting a tmpfs on", path)
}

pub(super) fn make_dir(path: &Path, mode: u32) -> Step<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(mode & 0o755).create(path).step("making directory", path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).step("making directory", path)
}

pub(super) fn write_file(path: &Path, content: &[u8], mode: u32) -> Step<()> {
    fs::write(path, content).step("writing", path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).step("writing", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_unescaped() {
        let table = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n\
                     37 35 0:4 / /with\\040space\\134x rw - tmpfs none rw\n";
        assert_eq!(parse_mount_points(table), [PathBuf::from("/mnt2"), PathBuf::from("/with space\\x")]);
    }

    #[test]
    fn overlay_options_escape() {
        let options = overlay_options(
            &["/a:b".into(), "/c,d".into()],
            Path::new("/s"),
            Path::new("/u:1"),
            Path::new("/w"),
        )
        .unwrap();
        assert!(options.starts_with("lowerdir=/a\\:b:/c\\,d:/s,upperdir=/u:1,workdir=/w,"), "{options}");
    }
}
