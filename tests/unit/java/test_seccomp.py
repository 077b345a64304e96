"""What the filter answers to a system call (S2), by running its program as the kernel would."""

from __future__ import annotations

import errno
import struct

import pyseccomp  # type: ignore[import-untyped]  # it ships no types
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.java.seccomp import filter_program

ALLOW, ERRNO = 0x7FFF_0000, 0x0005_0000
_ARCH = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}

PROGRAM = filter_program()


def number_of(name: str) -> int:
    """The kernel's number of a call; negative for one that this libseccomp or this machine does not know."""
    try:
        return int(pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name))
    except (OSError, ValueError):
        return -1


def verdict(number: int, *args: int, arch: int | None = None) -> int:
    """Interpret the classic BPF: loads, masks, jumps and returns are all that libseccomp writes."""
    native = int(pyseccomp.system_arch()) & 0xFFFF_FFFF
    data = struct.pack("<IIQ6Q", number, native if arch is None else arch, 0, *args, *[0] * (6 - len(args)))
    code = [struct.unpack_from("<HBBI", PROGRAM, at) for at in range(0, len(PROGRAM), 8)]
    at = accumulator = 0
    while True:
        operation, if_true, if_false, k = code[at]
        at += 1
        match operation:
            case 0x20:  # load a word
                accumulator = struct.unpack_from("<I", data, k)[0]
            case 0x54:  # and
                accumulator &= k
            case 0x05:  # jump
                at += k
            case 0x15:
                at += if_true if accumulator == k else if_false
            case 0x25:
                at += if_true if accumulator > k else if_false
            case 0x35:
                at += if_true if accumulator >= k else if_false
            case 0x06:
                return int(k)
            case _:
                raise AssertionError(hex(operation))


def answer(name: str, *args: int, arch: int | None = None) -> int:
    number = number_of(name)
    assert number >= 0, name
    return verdict(number, *args, arch=arch)


REFUSED, NO_FAMILY, NO_CALL = (ERRNO | number for number in (errno.EPERM, errno.EAFNOSUPPORT, errno.ENOSYS))

WHOLLY = {
    "others' processes and memory": """ptrace process_vm_readv process_vm_writev process_madvise
        process_mrelease kcmp pidfd_open pidfd_getfd pidfd_send_signal""",
    "mounts and namespaces": """mount umount2 pivot_root chroot move_mount open_tree fsopen fsconfig fsmount
        fspick mount_setattr unshare setns""",
    "keys, programs in the kernel, and what it counts": """add_key request_key keyctl bpf perf_event_open
        userfaultfd lookup_dcookie""",
    "rings and queues of work": "io_uring_setup io_uring_enter io_uring_register io_setup io_submit",
    "the machine itself": """init_module finit_module delete_module kexec_load kexec_file_load reboot swapon
        swapoff acct quotactl quotactl_fd syslog settimeofday clock_settime clock_adjtime adjtimex
        sethostname setdomainname vhangup uselib ustat sysfs nfsservctl iopl ioperm modify_ldt personality""",
    "files by number": "name_to_handle_at open_by_handle_at",
    "what processes share": """shmget shmat shmctl msgget msgsnd msgrcv semget semop semtimedop mq_open
        mq_unlink mq_timedsend mq_timedreceive memfd_create memfd_secret""",
    "where memory lies, and that it stays": """set_mempolicy get_mempolicy mbind migrate_pages move_pages
        set_mempolicy_home_node mlock mlock2 mlockall splice vmsplice tee""",
    "news of files and of signals": """fanotify_init fanotify_mark inotify_init inotify_init1
        inotify_add_watch signalfd signalfd4""",
    "who comes first": """setpriority sched_setscheduler sched_setparam sched_setattr sched_setaffinity
        ioprio_set""",
    "who it is": """setuid setgid setreuid setregid setresuid setresgid setgroups setfsuid setfsgid setsid""",
    "processes, and devices": "fork vfork execveat mknod mknodat",
    "filters of its own": "landlock_create_ruleset seccomp",
    "lists of who may what with a file": """setxattr lsetxattr fsetxattr setxattrat removexattr lremovexattr
        fremovexattr removexattrat""",
    "large buffers and descriptors under way": "setsockopt sendmsg sendmmsg",
    "locks and waits that others feel": "flock sync syncfs",
}
"""Refused whatever is asked, by what for. The filter's own table is not read: what leaves it is missed."""

HIGH = 1 << 32
"""Beyond an `int`: the kernel does not look at it."""
THREAD = 0x0001_0000 | 0x100 | 0x200 | 0x400 | 0x800
"""CLONE_THREAD, with what it needs."""
_NEW = (0x80, 0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000)
_BITS = st.sets(st.integers(0, 63)).map(lambda bits: sum(1 << bit for bit in bits))


@pytest.mark.parametrize("why", WHOLLY)
def test_what_no_virtual_machine_needs_is_refused(why: str) -> None:
    """S2, N5, N6, P13, P14: whatever its arguments are."""
    known = {name: number for name in WHOLLY[why].split() if (number := number_of(name)) >= 0}
    assert known
    for args in ((), (1,) * 6, ((1 << 64) - 1,) * 6):
        found = {name: verdict(number, *args) for name, number in known.items()}
        assert found == dict.fromkeys(known, REFUSED)


def test_every_other_call_is_allowed() -> None:
    """S2: by number, so that none is forgotten; no kernel has as many as 600."""
    wanted = dict.fromkeys(range(600), ALLOW)
    of_arguments = "clone socket socketpair".split()  # noqa: SIM905
    for name in [*" ".join(WHOLLY.values()).split(), "clone3", *of_arguments]:
        if (number := number_of(name)) >= 0:
            wanted[number] = {"clone3": NO_CALL, "socket": NO_FAMILY, "socketpair": NO_FAMILY}.get(
                name, REFUSED
            )
    assert {number: verdict(number) for number in wanted} == wanted
    needed = "read write openat futex mprotect rt_sigaction exit_group execve".split()  # noqa: SIM905
    assert {answer(name) for name in needed} == {ALLOW}


@given(_BITS)
def test_a_clone_is_a_thread_without_namespaces_or_is_refused(flags: int) -> None:
    """P1, P3, N6: without CLONE_THREAD it would be a process."""
    thread = flags & 0x0001_0000 and not any(flags & new for new in _NEW)
    assert answer("clone", flags) == (ALLOW if thread else REFUSED)


def test_threads_can_be_made_and_processes_and_namespaces_not() -> None:
    """P1, P3, N6."""
    assert answer("clone", THREAD) == ALLOW
    assert answer("clone", 17) == answer("clone", 17, THREAD) == REFUSED
    for flag in _NEW:
        assert answer("clone", THREAD | flag) == REFUSED
        assert answer("clone", THREAD, flag, flag, flag) == ALLOW, "those are addresses"
    for flags in (0, THREAD):
        assert answer("clone3", flags) == NO_CALL, "its flags can't be seen; libc then takes the other"


def test_no_socket_of_any_family() -> None:
    """N3, N4: no network; and what waits in the buffers of a loopback is memory that no limit counts."""
    for family in (*range(64), HIGH | 1):
        assert answer("socket", family, 1) == NO_FAMILY
        assert answer("socketpair", family, 1) == (ALLOW if family == 1 else NO_FAMILY)


def test_a_filter_of_its_own_is_refused_and_a_threads_name_is_not() -> None:
    """S2."""
    for option in range(100):
        wanted = REFUSED if option == 22 else ALLOW
        assert [answer("prctl", option), answer("prctl", HIGH | option)] == [wanted, wanted]
    assert answer("prctl", 15, 22) == ALLOW


def test_what_tells_of_others_and_a_large_pipe_are_refused_and_locks_are_not() -> None:
    """S2, F10: who holds a lock, a lease, news of a directory; the descriptor may have any number."""
    for command in range(1100):
        wanted = REFUSED if command in {5, 36, 1024, 1026, 1031} else ALLOW
        assert [answer("fcntl", 3, command), answer("fcntl", 3, HIGH | command)] == [wanted, wanted]
    assert answer("fcntl", 1031, 3, 1031) == ALLOW


@given(_BITS)
def test_memory_that_no_limit_counts_is_refused(flags: int) -> None:
    """S3: shared and of no file, or a stack that grows."""
    uncounted = flags & 0x21 == 0x21 or flags & 0x100
    assert answer("mmap", 0, 4096, 3, flags) == (REFUSED if uncounted else ALLOW)
    assert answer("mmap", flags, flags, flags, 0x22, flags, flags) == ALLOW


@pytest.mark.parametrize("flags", [0x21, 0x23, 0x0100, 0x0122, 0x0121, HIGH | 0x21])
def test_each_kind_of_such_memory_is(flags: int) -> None:
    """S3."""
    assert answer("mmap", 0, 4096, 3, flags) == REFUSED


def test_another_architecture_is_no_way_round() -> None:
    """A 32-bit call on a 64-bit kernel has other numbers."""
    assert answer("read", arch=0x4000_0003) != ALLOW
    if int(pyseccomp.system_arch()) & 0xFFFF_FFFF == _ARCH["x86_64"]:
        assert verdict(0x4000_0000 | number_of("read")) != ALLOW, "x32, which has numbers of its own"
