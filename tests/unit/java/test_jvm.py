"""A virtual machine as a process: what is known of it, and when."""

from __future__ import annotations

import resource

from cluster.java.jvm import Jvm
from cluster.java.sandbox import INFO


def test_no_bound_is_set_before_the_machines_number_is_known() -> None:
    """To the kernel the number 0 is whoever asks: the node would bound, and in the end kill, itself."""
    before = resource.getrlimit(resource.RLIMIT_CPU)
    Jvm(confined=True).bound_cpu(1.0)
    assert resource.getrlimit(resource.RLIMIT_CPU) == before


def test_the_number_is_taken_when_it_has_come_whole() -> None:
    jvm = Jvm(confined=True)
    jvm.childDataReceived(INFO, b'{\n    "child-pid": 4194')
    assert jvm.pid == 0
    jvm.childDataReceived(INFO, b"3999\n}\n")
    assert jvm.pid == 41943999
