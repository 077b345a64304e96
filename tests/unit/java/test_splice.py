"""A call of a JDK's class is led elsewhere, and nothing else of it changes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cluster.java.splice import NotAsExpected, opened, redirect

CALLER = """
public class Caller {
    static final long WIDE = 1L << 40;
    static final double POINT = 0.5;
    private final int unused = 7;
    private static String told(int n) { return "own " + n; }
    private static String told(long n) { return "other " + n; }
    public static void main(String[] a) { System.out.println(told(1) + told(2L) + told(3) + WIDE + POINT); }
}
"""
OTHER = """
class Other {
    static String instead(int n) { return "<" + Caller.told(n) + ">"; }
}
"""
TOLD = ("told", "(I)Ljava/lang/String;")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`Caller.class`, of this machine's own compiler."""
    path = tmp_path_factory.mktemp("splice")
    (path / "Caller.java").write_text(CALLER)
    subprocess.run(["javac", "Caller.java"], cwd=path, check=True)
    return path


def test_the_call_goes_to_the_other_which_may_call_the_first(compiled: Path) -> None:
    file = compiled / "Caller.class"
    led = redirect(file.read_bytes(), *TOLD, owner="Other", instead="instead")
    file.write_bytes(opened(led, *TOLD))
    (compiled / "Caller.java").unlink()
    (compiled / "Other.java").write_text(OTHER)
    subprocess.run(["javac", "-cp", ".", "Other.java"], cwd=compiled, check=True)
    command = ["java", "-Xverify:all", "-cp", ".", "Caller"]
    said = subprocess.run(command, cwd=compiled, capture_output=True, check=True).stdout
    assert said == b"<own 1>other 2<own 3>10995116277760.5\n"


@pytest.mark.parametrize(
    ("name", "descriptor"),
    [
        ("told", "(F)Ljava/lang/String;"),
        ("asked", "(I)Ljava/lang/String;"),
        ("main", "([Ljava/lang/String;)V"),
        ("unused", "I"),
    ],
)
def test_what_is_not_there_or_not_called_is_refused(compiled: Path, name: str, descriptor: str) -> None:
    """So that a JDK which does it in another way keeps its class as it is."""
    data = (compiled / "Caller.class").read_bytes()
    with pytest.raises(NotAsExpected):
        redirect(data, name, descriptor, owner="Other", instead="instead")
    if name != "main":
        with pytest.raises(NotAsExpected):
            opened(data, name, descriptor)


def test_what_is_no_class_is_refused() -> None:
    for data in (b"", b"\xca\xfe\xba\xbe", b"text that is no class at all"):
        with pytest.raises(NotAsExpected):
            redirect(data, *TOLD, owner="Other", instead="instead")
        with pytest.raises(NotAsExpected):
            opened(data, *TOLD)
