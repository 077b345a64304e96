"""What the filter answers to a system call (S2), by running its program as the kernel would."""

from __future__ import annotations

import errno
import struct

import pyseccomp  # type: ignore[import-untyped]  # it ships no types
import pytest

from cluster.java.seccomp import filter_program

ALLOW, ERRNO = 0x7FFF_0000, 0x0005_0000
_ARCH = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}

PROGRAM = filter_program()


def answer(name: str, *args: int, arch: int | None = None) -> int:
    """Interpret the classic BPF: loads, masks, jumps and returns are all that libseccomp writes."""
    number = int(pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name))
    native = int(pyseccomp.system_arch()) & 0xFFFF_FFFF
    data = struct.pack("<iIQ6Q", number, native if arch is None else arch, 0, *args, *[0] * (6 - len(args)))
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


REFUSED = ERRNO | errno.EPERM


@pytest.mark.parametrize(
    "name",
    """ptrace process_vm_readv kcmp mount umount2 pivot_root unshare setns keyctl add_key bpf perf_event_open
    userfaultfd io_uring_setup reboot syslog settimeofday clock_settime sethostname open_by_handle_at
    shmget msgget semget mq_open memfd_create setpriority sched_setscheduler sched_setaffinity ioprio_set
    setuid setgid setgroups setsid mlock fork vfork execveat mknod pidfd_open personality seccomp
    kexec_load init_module swapon acct quotactl flock sync syncfs""".split(),  # noqa: SIM905
)
def test_what_no_virtual_machine_needs_is_refused(name: str) -> None:
    """N5, N6, P13, P14."""
    assert answer(name) == REFUSED


@pytest.mark.parametrize(
    "name", ["read", "write", "openat", "futex", "mprotect", "rt_sigaction", "exit_group"]
)
def test_what_it_needs_is_allowed(name: str) -> None:
    assert answer(name) == ALLOW


def test_threads_can_be_made_and_processes_and_namespaces_not() -> None:
    """P1, P3: without CLONE_THREAD it would be a process."""
    thread = 0x0001_0000 | 0x100 | 0x200 | 0x400 | 0x800
    assert answer("clone", thread) == ALLOW
    assert answer("clone", 17) == REFUSED
    for flag in (0x0002_0000, 0x0200_0000, 0x0400_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000):
        assert answer("clone", thread | flag) == REFUSED
    assert answer("clone3") == ERRNO | errno.ENOSYS


@pytest.mark.parametrize("family", [1, 2, 10, 16, 17, 40])
def test_no_socket_of_any_family(family: int) -> None:
    """N4: there is no network, and what waits in the buffers of a loopback is memory that no limit counts."""
    assert answer("socket", family) == ERRNO | errno.EAFNOSUPPORT
    assert answer("socketpair", family) == (ALLOW if family == 1 else ERRNO | errno.EAFNOSUPPORT)


@pytest.mark.parametrize(
    "name",
    "setsockopt sendmsg sendmmsg setxattr lsetxattr fsetxattr removexattr".split(),  # noqa: SIM905
)
def test_what_holds_a_kernels_memory_by_megabytes_is_refused(name: str) -> None:
    """S3: large buffers of sockets, descriptors under way in them, lists of who may what with a file."""
    assert answer(name) == REFUSED


def test_a_filter_of_its_own_a_lease_news_of_a_directory_and_a_large_pipe_are_refused() -> None:
    """S2: a program's threads may have names, and its files locks."""
    assert answer("prctl", 22) == REFUSED
    assert answer("prctl", 1 << 32 | 22) == REFUSED, "the kernel sees the same number"
    assert answer("prctl", 15) == ALLOW
    for command in (5, 36, 1024, 1026, 1031):
        assert answer("fcntl", 3, command) == REFUSED
    for command in (6, 7, 1032):
        assert answer("fcntl", 3, command) == ALLOW


def test_memory_that_no_limit_counts_is_refused() -> None:
    assert answer("mmap", 0, 4096, 3, 0x22) == ALLOW
    assert answer("mmap", 0, 4096, 3, 0x21) == REFUSED
    assert answer("mmap", 0, 4096, 3, 0x0122) == REFUSED


def test_another_architecture_is_no_way_round() -> None:
    """A 32-bit call on a 64-bit kernel has other numbers."""
    assert answer("read", arch=0x4000_0003) != ALLOW
