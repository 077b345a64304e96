"""What a host lacks only now is told from what no time mends (issue 7)."""

from __future__ import annotations

import errno

import pytest

from cluster.errors import EnvironmentFault, HostExhausted
from cluster.java.scarcity import fault_of, start_fault


@pytest.mark.parametrize(
    "complaint",
    [
        "Error occurred during initialization of VM\nCould not reserve enough space for 327680KB object heap",
        "Could not allocate compressed class space: 117440512 bytes",
        "# There is insufficient memory for the Java Runtime Environment to continue.",
        "java.lang.OutOfMemoryError: unable to create native thread",
        "OS::commit_memory(0x0000, 65536, 0) failed; error='Not enough space' (errno=12)",
        "setpriv: failed to execute setsid: Resource temporarily unavailable",
        "bwrap: Creating new namespace failed: Cannot allocate memory",
        "error while loading shared libraries: libz.so.1: cannot open: Too many open files",
        "it did not answer for 120 s while it warmed up",
    ],
)
def test_words_of_a_host_that_is_short_of_something(complaint: str) -> None:
    assert isinstance(fault_of(f"the compiler does not start: {complaint}"), HostExhausted)


@pytest.mark.parametrize(
    "complaint",
    [
        "bwrap: No permissions to create new namespace, likely because the kernel does not allow it",
        "bwrap: setting up uid map: Permission denied",
        "bwrap: Creating new namespace failed: /proc/sys/user/max_*_namespaces exceeded (ENOSPC)",
        "Unrecognized VM option 'UseSerialGCC'",
        "",
    ],
)
def test_words_that_only_a_person_can_do_something_about(complaint: str) -> None:
    assert not isinstance(fault_of(f"the compiler does not start: {complaint}"), HostExhausted)


@pytest.mark.parametrize(
    "number", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EROFS]
)
def test_the_kernels_refusals_pass(number: int) -> None:
    error = OSError(number, "no")
    assert isinstance(fault_of("x", error), HostExhausted)
    assert isinstance(start_fault(error), HostExhausted)


def test_others_do_not() -> None:
    assert not isinstance(fault_of("x", OSError(errno.ENOENT, "no")), HostExhausted)
    assert isinstance(start_fault(RuntimeError("can't start new thread")), HostExhausted)
    known = EnvironmentFault("no JDK")
    assert start_fault(known) is known
