"""The system calls that a Java virtual machine does not need are answered with an error (S2).

An error and no kill: virtual machines try calls at start-up to find out what the kernel can do. `execve`
stays open, because bubblewrap still has to start the virtual machine; a program gains nothing by it, since
no new process can be made and all that could be executed runs in the same sandbox (S1).
"""

from __future__ import annotations

import errno
import os
import tempfile

import pyseccomp  # type: ignore[import-untyped]  # it ships no types

_REFUSED = """
ptrace process_vm_readv process_vm_writev process_madvise process_mrelease kcmp
mount umount2 pivot_root chroot move_mount open_tree fsopen fsconfig fsmount fspick mount_setattr
unshare setns add_key request_key keyctl bpf perf_event_open userfaultfd
io_uring_setup io_uring_enter io_uring_register io_setup io_submit
init_module finit_module delete_module kexec_load kexec_file_load reboot
swapon swapoff acct quotactl quotactl_fd syslog
settimeofday clock_settime clock_adjtime adjtimex sethostname setdomainname
name_to_handle_at open_by_handle_at
shmget shmat shmctl msgget msgsnd msgrcv semget semop semtimedop
mq_open mq_unlink mq_timedsend mq_timedreceive memfd_create memfd_secret
set_mempolicy get_mempolicy mbind migrate_pages move_pages set_mempolicy_home_node
fanotify_init fanotify_mark inotify_init inotify_init1 inotify_add_watch
setpriority sched_setscheduler sched_setparam sched_setattr sched_setaffinity ioprio_set
setuid setgid setreuid setregid setresuid setresgid setgroups setfsuid setfsgid setsid
mlock mlock2 mlockall splice vmsplice tee
fork vfork execveat mknod mknodat signalfd signalfd4 pidfd_open pidfd_getfd pidfd_send_signal
personality iopl ioperm modify_ldt lookup_dcookie vhangup uselib ustat sysfs nfsservctl
landlock_create_ruleset seccomp
setxattr lsetxattr fsetxattr setxattrat removexattr lremovexattr fremovexattr removexattrat
setsockopt sendmsg sendmmsg flock sync syncfs
""".split()  # noqa: SIM905  (a table of names reads best as text)
"""Refused with EPERM; names that this libseccomp or this machine does not know are left out."""

_CLONE_THREAD = 0x0001_0000
_CLONE_NEW = (0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000, 0x80)
_AF_UNIX = 1
_PR_SET_SECCOMP = 22
_F_GETLK, _F_OFD_GETLK = 5, 36
_F_SETLEASE, _F_NOTIFY, _F_SETPIPE_SZ = 1024, 1026, 1031
_INT = 0xFFFF_FFFF
"""What the kernel looks at of an argument that is an `int`."""
_MAP_SHARED_ANONYMOUS = 0x01 | 0x20
_MAP_GROWSDOWN = 0x0100


def filter_program() -> bytes:
    """The filter as the kernel takes it.

    Raises:
        OSError: libseccomp can't build it here.
    """
    rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    refuse = pyseccomp.ERRNO(errno.EPERM)
    for name in _REFUSED:
        if _known(name):
            rules.add_rule(refuse, name)
    rules.add_rule(pyseccomp.ERRNO(errno.ENOSYS), "clone3")  # libc then uses clone, whose flags can be seen
    rules.add_rule(refuse, "clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, _CLONE_THREAD, 0))
    for flag in _CLONE_NEW:
        rules.add_rule(refuse, "clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, flag, flag))
    # There is no network to reach (S1), and what waits in a socket's buffers is memory that no rlimit counts.
    # `socketpair` is what Java's own channels make one of at their start; `setsockopt` would make its buffers
    # large, and with `sendmsg` descriptors could wait in them that no limit of the process counts.
    rules.add_rule(pyseccomp.ERRNO(errno.EAFNOSUPPORT), "socket")
    rules.add_rule(
        pyseccomp.ERRNO(errno.EAFNOSUPPORT), "socketpair", pyseccomp.Arg(0, pyseccomp.NE, _AF_UNIX)
    )
    # Each filter would be memory of the kernel's, as are lists of who may what with a file (`setxattr`).
    rules.add_rule(refuse, "prctl", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, _INT, _PR_SET_SECCOMP))
    # Programs of different tenants see the same files of the host: they would hear each other (also by
    # `flock`, and by asking who holds a lock). And a pipe's buffer would be larger than others' are.
    for command in (_F_GETLK, _F_OFD_GETLK, _F_SETLEASE, _F_NOTIFY, _F_SETPIPE_SZ):
        rules.add_rule(refuse, "fcntl", pyseccomp.Arg(1, pyseccomp.MASKED_EQ, _INT, command))
    # Both would hold memory that RLIMIT_DATA does not count.
    for flags in (_MAP_SHARED_ANONYMOUS, _MAP_GROWSDOWN):
        rules.add_rule(refuse, "mmap", pyseccomp.Arg(3, pyseccomp.MASKED_EQ, flags, flags))
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        return os.pread(file.fileno(), 1 << 20, 0)


def _known(name: str) -> bool:
    try:
        return int(pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)) >= 0
    except (OSError, ValueError):
        return False
