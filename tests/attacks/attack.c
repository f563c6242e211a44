// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//
// What a hostile package script tries against the machine that it runs on.
//
// usage: attack SECRET PID PORT NAME [ATTACK...]
// SECRET is a file of the host, PID a process, PORT a TCP server on 127.0.0.1, NAME an abstract socket there. One line for
// each attack (default: all): its name, "yes" or "no", and the error. An attack says yes as soon as it is clear that it would
// work; none changes anything.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/io_uring.h>
#include <linux/keyctl.h>
#include <linux/perf_event.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/quota.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *secret, *abstract_name;
static int victim, port;

// 1: it works; 0: it does not, errno says why
static int opens(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	return fd >= 0;
}

static int any_opens(const char *const *paths, int flags)
{
	int seen = ENOENT;
	for (; *paths; paths++) {
		if (opens(*paths, flags))
			return 1;
		if (errno != ENOENT)
			seen = errno;
	}
	errno = seen;
	return 0;
}

// -- files ------------------------------------------------------------------

static int dotdot(void)
{
	char path[4096];
	snprintf(path, sizeof path, "/../../../../../../..%s", secret);
	return opens(path, O_RDONLY);
}

static int chroot_fchdir(void)
{
	char name[] = "/tmp/attack-XXXXXX";
	int root = open("/", O_PATH | O_DIRECTORY);
	if (!mkdtemp(name) || chroot(name) || fchdir(root))
		return 0;
	for (int i = 0; i < 64; i++)
		if (chdir(".."))
			return 0;
	return !chroot(".") && opens(secret, O_RDONLY);
}

static int inherited_descriptors(void)
{
	struct stat stat;
	char path[4096];
	errno = EBADF;
	for (int fd = 0; fd < 1024; fd++) {
		if (fstat(fd, &stat) || !S_ISDIR(stat.st_mode))
			continue;
		snprintf(path, sizeof path, "../../../../../../../../../../../..%s", secret);
		if (openat(fd, path, O_RDONLY) >= 0)
			return 1;
	}
	return 0;
}

// Below /proc of process 1 and of one of the host.
static int proc_opens(const char *name, const char *rest, int flags)
{
	char path[4096];
	snprintf(path, sizeof path, "/proc/%d/%s%s", victim, name, rest);
	if (opens(path, flags))
		return 1;
	snprintf(path, sizeof path, "/proc/1/%s%s", name, rest);
	return opens(path, flags);
}

static int proc_root(void)
{
	return proc_opens("root", secret, O_RDONLY);
}

static int proc_cwd(void)
{
	char path[4096];
	snprintf(path, sizeof path, "/../../../../../../../..%s", secret);
	return proc_opens("cwd", path, O_RDONLY);
}

static int proc_descriptors(void)
{
	return proc_opens("fd", "/0", O_RDONLY) || proc_opens("fd", "/1", O_RDONLY) || proc_opens("fd", "/3", O_RDONLY);
}

static int program_of_host(void)
{
	return proc_opens("exe", "", O_RDONLY);
}

static int open_by_handle(void)
{
	struct { struct file_handle handle; unsigned id[2]; } root = { { 8, 1 }, { 2, 0 } };
	int fd = syscall(SYS_open_by_handle_at, open("/", O_RDONLY), &root.handle, O_RDONLY);
	return fd >= 0;
}

static int name_to_handle(void)
{
	struct { struct file_handle handle; char id[128]; } found = { { 128, 0 } };
	int mount;
	return !syscall(SYS_name_to_handle_at, AT_FDCWD, "/", &found.handle, &mount, 0);
}

// -- mounts and namespaces --------------------------------------------------

static int mount_tmpfs(void)
{
	return !mount("none", "/mnt", "tmpfs", 0, NULL);
}

static int mount_proc(void)
{
	return !mount("proc", "/mnt", "proc", 0, NULL);
}

static int mount_bind(void)
{
	return !mount("/etc", "/mnt", NULL, MS_BIND, NULL);
}

static int mount_again_writable(void)
{
	return !mount(NULL, "/proc/sys", NULL, MS_REMOUNT | MS_BIND, NULL) || !mount(NULL, "/sys", NULL, MS_REMOUNT, NULL);
}

static int mount_new_api(void)
{
	return syscall(SYS_fsopen, "tmpfs", 0) >= 0 || syscall(SYS_open_tree, AT_FDCWD, "/", 1) >= 0;
}

static int umount_proc_sys(void)
{
	return !umount2("/proc/sys", MNT_DETACH) || !umount2("/proc/keys", MNT_DETACH) || !umount2("/sys/kernel", MNT_DETACH);
}

static int cgroup_release_agent(void)
{
	static const char *const paths[] = { "/sys/fs/cgroup/release_agent", "/sys/fs/cgroup/pids/release_agent",
		"/sys/fs/cgroup/memory/release_agent", "/sys/fs/cgroup/cgroup.procs", NULL };
	return any_opens(paths, O_WRONLY) || !mount("none", "/mnt", "cgroup", 0, "pids") || !mount("none", "/mnt", "cgroup2", 0, NULL);
}

static int namespace_mount(void)
{
	return !unshare(CLONE_NEWNS);
}

static int namespace_user(void)
{
	return !unshare(CLONE_NEWUSER);
}

static int namespace_user_by_clone(void)
{
	int pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
	if (!pid)
		_exit(0);
	return pid > 0;
}

static int namespace_user_by_clone3(void)
{
	struct clone_args args = { .flags = CLONE_NEWUSER, .exit_signal = SIGCHLD };
	int pid = syscall(SYS_clone3, &args, sizeof args);
	if (!pid)
		_exit(0);
	return pid > 0;
}

static int enter_namespace(void)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/ns/mnt", victim);
	int fd = open(path, O_RDONLY);
	if (fd < 0)
		fd = open("/proc/1/ns/mnt", O_RDONLY);
	return fd >= 0 && !setns(fd, 0);
}

// -- devices ----------------------------------------------------------------

static int device(mode_t type, unsigned major, unsigned minor)
{
	static const char *const folders[] = { "/", "/tmp", "/run", "/dev", "/dev/shm", NULL };
	int worked = 0;
	for (const char *const *folder = folders; *folder && !worked; folder++) {
		char path[64];
		snprintf(path, sizeof path, "%s/attack-%d", *folder, getpid());
		if (mknod(path, type | 0600, makedev(major, minor)))
			continue;
		worked = opens(path, O_RDONLY);
		int error = errno;
		unlink(path);
		errno = error;
	}
	return worked;
}

static int disks(void)
{
	// all that the kernel knows
	FILE *file = fopen("/proc/partitions", "r");
	unsigned major, minor;
	char line[256];
	int worked = 0;
	errno = ENXIO;
	while (!worked && file && fgets(line, sizeof line, file))
		if (sscanf(line, "%u %u", &major, &minor) == 2)
			worked = device(S_IFBLK, major, minor);
	return worked;
}

static int device_memory(void)
{
	return device(S_IFCHR, 1, 1);
}

static int device_kernel_log(void)
{
	return device(S_IFCHR, 1, 11);
}

static int device_fuse(void)
{
	return device(S_IFCHR, 10, 229);
}

static int loop_control(void)
{
	return device(S_IFCHR, 10, 237);
}

// -- processes and keys -----------------------------------------------------

static int kill_process(void)
{
	return !kill(victim, 0);
}

static int trace_process(void)
{
	return !ptrace(PTRACE_SEIZE, victim, 0, 0);
}

static int trace_first(void)
{
	return !ptrace(PTRACE_SEIZE, 1, 0, 0);
}

static int read_memory(void)
{
	char byte;
	struct iovec here = { &byte, 1 }, there = { (void *)0x400000, 1 };
	// EFAULT: we were allowed to
	return process_vm_readv(1, &here, 1, &there, 1, 0) >= 0 || errno == EFAULT;
}

static int key_of_host(void)
{
	long key = syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_USER_KEYRING, "user", "isar-template-attack", 0);
	return key > 0;
}

static int key_left_behind(void)
{
	// a keyring that cannot be: EPERM and ENOSYS come before EINVAL or ENOKEY
	return syscall(SYS_add_key, "user", "x", "x", 1, 0x7ffffff0) >= 0 || (errno != EPERM && errno != ENOSYS);
}

static int session_keyring(void)
{
	return syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0) > 0;
}

static int request_key_upcall(void)
{
	return syscall(SYS_request_key, "user", "isar-template-attack", NULL, 0) >= 0 || (errno != EPERM && errno != ENOSYS);
}

// -- the kernel and its settings --------------------------------------------

static int sysrq(void)
{
	return opens("/proc/sysrq-trigger", O_WRONLY);
}

static int write_sys(void)
{
	static const char *const paths[] = { "/sys/power/state", "/sys/kernel/uevent_helper", "/sys/kernel/uevent_seqnum",
		"/sys/kernel/mm/transparent_hugepage/enabled", "/sys/devices/system/cpu/cpu1/online", "/sys/bus/pci/rescan",
		"/sys/devices/system/clocksource/clocksource0/current_clocksource", "/sys/module/kernel/parameters/panic", NULL };
	return any_opens(paths, O_WRONLY);
}

static int write_proc_sys(void)
{
	static const char *const paths[] = { "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/vm/drop_caches",
		"/proc/sys/kernel/pid_max", "/proc/sys/kernel/hostname", "/proc/sys/fs/binfmt_misc/register", NULL };
	return any_opens(paths, O_WRONLY);
}

static int read_kernel(void)
{
	static const char *const paths[] = { "/proc/kcore", "/proc/kmsg", "/sys/kernel/debug", "/sys/firmware/dmi", "/proc/vmcore", NULL };
	char byte;
	for (const char *const *path = paths; *path; path++) {
		int fd = open(*path, O_RDONLY | O_NONBLOCK);
		struct stat stat;
		if (fd < 0 || fstat(fd, &stat))
			continue;
		if (S_ISDIR(stat.st_mode) || read(fd, &byte, 1) > 0)
			return 1;
	}
	return 0;
}

static int read_keys(void)
{
	char byte;
	int fd = open("/proc/keys", O_RDONLY);
	return fd >= 0 && read(fd, &byte, 1) > 0;
}

static int kernel_log(void)
{
	return syscall(SYS_syslog, 10, NULL, 0) >= 0;
}

static int core_dump_handler(void)
{
	// only with this limit the kernel does not start the handler of core_pattern, which is a program of the host
	struct rlimit limit, more = { RLIM_INFINITY, RLIM_INFINITY };
	setrlimit(RLIMIT_CORE, &more);
	getrlimit(RLIMIT_CORE, &limit);
	errno = EPERM;
	return limit.rlim_cur != 1 || limit.rlim_max != 1;
}

// Where the right comes before the argument is looked at, a wrong argument tells whether there is one.
static int allowed(long result)
{
	return result >= 0 || (errno != EPERM && errno != ENOSYS);
}

// Where it does not.
static int capable(int capability)
{
	char line[256];
	unsigned long long effective = 0;
	FILE *file = fopen("/proc/self/status", "r");
	while (file && fgets(line, sizeof line, file))
		sscanf(line, "CapEff: %llx", &effective);
	errno = EPERM;
	return effective >> capability & 1;
}

static int load_module(void)
{
	return allowed(syscall(SYS_init_module, NULL, 0, ""));
}

static int load_module_file(void)
{
	return allowed(syscall(SYS_finit_module, -1, "", 0));
}

static int reboot_machine(void)
{
	return allowed(syscall(SYS_reboot, 0, 0, 0, NULL));
}

static int kexec(void)
{
	return allowed(syscall(SYS_kexec_load, 0, 0, NULL, ~0ul));
}

static int clock_set(void)
{
	struct timespec time = { -1, -1 };
	return allowed(syscall(SYS_clock_settime, CLOCK_REALTIME, &time)) && capable(CAP_SYS_TIME);
}

static int time_of_day_set(void)
{
	struct timeval time = { -1, -1 };
	return allowed(syscall(SYS_settimeofday, &time, NULL)) && capable(CAP_SYS_TIME);
}

static int clock_adjust(void)
{
	struct timex adjustment = { .modes = ADJ_TICK, .tick = -1 };
	return allowed(adjtimex(&adjustment));
}

static int host_name(void)
{
	return allowed(syscall(SYS_sethostname, "x", 65536));
}

static int swap(void)
{
	return allowed(swapon("/nonexistent", 0));
}

static int quota(void)
{
	return allowed(quotactl(QCMD(Q_QUOTAON, USRQUOTA), "/nonexistent", 0, NULL));
}

static int accounting(void)
{
	return allowed(acct("/nonexistent"));
}

static int bpf(void)
{
	union bpf_attr attr = { .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1 };
	return syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof attr) >= 0;
}

static int userfaultfd(void)
{
	return syscall(SYS_userfaultfd, O_CLOEXEC | 1) >= 0 || syscall(SYS_userfaultfd, O_CLOEXEC) >= 0;
}

static int perf_event(void)
{
	struct perf_event_attr attr = { .type = PERF_TYPE_SOFTWARE, .size = sizeof attr, .config = PERF_COUNT_SW_CPU_CLOCK, .exclude_kernel = 1 };
	return syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0) >= 0;
}

static int io_uring(void)
{
	struct io_uring_params params = { 0 };
	return syscall(SYS_io_uring_setup, 1, &params) >= 0;
}

// -- network ----------------------------------------------------------------

static int raw_socket(void)
{
	return socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) >= 0;
}

static int packet_socket(void)
{
	return socket(AF_PACKET, SOCK_RAW, 0) >= 0;
}

static int hypervisor_socket(void)
{
	return socket(AF_VSOCK, SOCK_STREAM, 0) >= 0;
}

static int crypto_socket(void)
{
	return socket(AF_ALG, SOCK_SEQPACKET, 0) >= 0;
}

static int abstract_socket(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	strcpy(address.sun_path + 1, abstract_name);
	socklen_t size = offsetof(struct sockaddr_un, sun_path) + 1 + strlen(abstract_name);
	return !connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&address, size);
}

static int tcp_to_host(void)
{
	struct sockaddr_in address = { AF_INET, htons(port), { htonl(INADDR_LOOPBACK) } };
	return !connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&address, sizeof address);
}

static int udp_to_world(void)
{
	// no packet is sent: only the route is looked up
	struct sockaddr_in address = { AF_INET, htons(53), { htonl(0xc0000201) } };
	return !connect(socket(AF_INET, SOCK_DGRAM, 0), (struct sockaddr *)&address, sizeof address);
}

static int network_settings(void)
{
	return !unshare(CLONE_NEWNET) || opens("/proc/sys/net/ipv4/ip_forward", O_WRONLY);
}

// -- memory -----------------------------------------------------------------

static int fill_memory(void)
{
	static const char *const folders[] = { "/tmp", "/run", "/dev/shm", "/dev", NULL };
	unsigned long long room = 0, memory = (unsigned long long)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
	dev_t last = 0;
	for (const char *const *folder = folders; *folder; folder++) {
		struct statvfs found;
		struct stat stat_;
		if (statvfs(*folder, &found) || stat(*folder, &stat_) || stat_.st_dev == last)
			continue;
		last = stat_.st_dev;
		room += (unsigned long long)found.f_blocks * found.f_frsize;
	}
	errno = ENOSPC;
	return room > memory / 100 * 85;
}

static const struct { const char *name; int (*function)(void); } attacks[] = {
#define ATTACK(function) { #function, function }
	ATTACK(dotdot), ATTACK(chroot_fchdir), ATTACK(inherited_descriptors), ATTACK(proc_root), ATTACK(proc_cwd),
	ATTACK(proc_descriptors), ATTACK(program_of_host), ATTACK(open_by_handle), ATTACK(name_to_handle),
	ATTACK(mount_tmpfs), ATTACK(mount_proc), ATTACK(mount_bind), ATTACK(mount_again_writable), ATTACK(mount_new_api),
	ATTACK(umount_proc_sys), ATTACK(cgroup_release_agent), ATTACK(namespace_mount), ATTACK(namespace_user),
	ATTACK(namespace_user_by_clone), ATTACK(namespace_user_by_clone3), ATTACK(enter_namespace),
	ATTACK(disks), ATTACK(device_memory), ATTACK(device_kernel_log), ATTACK(device_fuse), ATTACK(loop_control),
	ATTACK(kill_process), ATTACK(trace_process), ATTACK(trace_first), ATTACK(read_memory),
	ATTACK(key_of_host), ATTACK(key_left_behind), ATTACK(session_keyring), ATTACK(request_key_upcall), ATTACK(read_keys),
	ATTACK(sysrq), ATTACK(write_sys), ATTACK(write_proc_sys), ATTACK(read_kernel), ATTACK(kernel_log), ATTACK(core_dump_handler),
	ATTACK(load_module), ATTACK(load_module_file), ATTACK(reboot_machine), ATTACK(kexec), ATTACK(clock_set),
	ATTACK(time_of_day_set), ATTACK(clock_adjust), ATTACK(host_name), ATTACK(swap), ATTACK(quota), ATTACK(accounting),
	ATTACK(bpf), ATTACK(userfaultfd), ATTACK(perf_event), ATTACK(io_uring),
	ATTACK(raw_socket), ATTACK(packet_socket), ATTACK(hypervisor_socket), ATTACK(crypto_socket), ATTACK(abstract_socket),
	ATTACK(tcp_to_host), ATTACK(udp_to_world), ATTACK(network_settings), ATTACK(fill_memory),
};

static int chosen(const char *name, char **names)
{
	if (!*names)
		return 1;
	for (; *names; names++)
		if (!strcmp(name, *names))
			return 1;
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 5)
		return 2;
	secret = argv[1];
	victim = atoi(argv[2]);
	port = atoi(argv[3]);
	abstract_name = argv[4];
	for (unsigned i = 0; i < sizeof attacks / sizeof *attacks; i++) {
		if (!chosen(attacks[i].name, argv + 5))
			continue;
		fflush(stdout);
		// each in a process of its own, so that none helps the next
		int pid = fork();
		if (!pid) {
			errno = 0;
			int worked = attacks[i].function();
			const char *error = worked ? "-" : strerrorname_np(errno);
			printf("%s %s %s\n", attacks[i].name, worked ? "yes" : "no", error ? error : "?");
			fflush(stdout);
			_exit(0);
		}
		int status;
		waitpid(pid, &status, 0);
		if (status)
			printf("%s no killed\n", attacks[i].name);
	}
	return 0;
}
