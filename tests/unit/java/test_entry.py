"""Where a program starts (P2): rules on classes that javac made, and a parser that no bytes can hurt."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.java.classfile import MalformedClass, parse
from cluster.java.entry import Entry, NoEntry, choose

MAIN = "public static void main(String[] a) {}"
QUICK = ("-proc:none", "-J-XX:TieredStopAtLevel=1", "-J-XX:+UseSerialGC")
RUN = 'public String run() { return ""; }'

Compile = Callable[[str], list[bytes]]


@pytest.fixture
def compiled(tmp_path: Path) -> Compile:
    """Compile one bare source."""

    def compile_source(text: str) -> list[bytes]:
        (tmp_path / "src").mkdir()
        name = next((w for w in ("Main", "Other") if f"public class {w}" in text), "Any")
        source = tmp_path / "src" / f"{name}.java"
        source.write_text(text)
        subprocess.run(["javac", *QUICK, "-d", str(tmp_path / "out"), str(source)], check=True)
        return [path.read_bytes() for path in sorted((tmp_path / "out").rglob("*.class"))]

    return compile_source


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """One class file with a bit of everything."""
    directory = tmp_path_factory.mktemp("sample")
    text = "public class Main { long l = 1L << 40; double d = .5; Runnable r = () -> {}; class In {} %s }"
    (directory / "Main.java").write_text(text % MAIN)
    subprocess.run(["javac", *QUICK, "-d", str(directory), str(directory / "Main.java")], check=True)
    return (directory / "Main.class").read_bytes()


@pytest.mark.parametrize(
    ("text", "wanted", "expected"),
    [
        (f"public class Main {{ {RUN} }}", "", Entry("Main", "run")),
        (f"public class Main {{ {MAIN} }}", "", Entry("Main", "main")),
        (f"public class Main {{ {MAIN} {RUN} }}", "", Entry("Main", "run")),
        (f"class Any {{ {MAIN} }} class B {{}}", "", Entry("Any", "main")),
        (f"class Any {{ {MAIN} }} public class Main {{ {MAIN} }}", "", Entry("Main", "main")),
        (f"class Any {{ {MAIN} }} public class Main {{ }}", "", Entry("Any", "main")),
        (f"class A {{ {MAIN} }} class B {{ {MAIN} }}", "B", Entry("B", "main")),
        (f"package p.q; public class Main {{ {MAIN} }}", "", Entry("p.q.Main", "main")),
        (f"package p.q; public class Main {{ {MAIN} }}", "p/q/Main", Entry("p.q.Main", "main")),
        (f"interface Any {{ {MAIN} }}", "", Entry("Any", "main")),
        (f"enum Any {{ ONE; {MAIN} }}", "", Entry("Any", "main")),
        (f"record Any(int x) {{ {MAIN} }}", "", Entry("Any", "main")),
        (f"class Any {{ static class In {{ {MAIN} }} }}", "", Entry("Any$In", "main")),
        (f"class Any {{ static class In {{ {MAIN} }} }}", "Any.In", Entry("Any$In", "main")),
        (f"public class Main {{ {MAIN} static class In {{ {MAIN} }} }}", "", Entry("Main", "main")),
        (f"class Base {{ {MAIN} }} public class Main extends Base {{}}", "", Entry("Main", "main")),
        (f"abstract class Base {{ {RUN} }} public class Main extends Base {{}}", "", Entry("Main", "run")),
        (f"public class Main {{ private Main() {{}} {RUN} {MAIN} }}", "", Entry("Main", "main")),
        (f"public class Main {{ public Main(int x) {{}} {RUN} {MAIN} }}", "", Entry("Main", "main")),
    ],
)
def test_the_entry_point_follows_the_rules(
    compiled: Compile, text: str, wanted: str, expected: Entry
) -> None:
    assert choose(compiled(text), wanted) == expected


@pytest.mark.parametrize(
    ("text", "wanted", "words"),
    [
        (f"class A {{ {MAIN} }} class B {{ {MAIN} }}", "", "A, B"),
        ("class A {}", "", "classes: A"),
        ("class A { static void main(String[] a) {} }", "", "nothing to start"),
        ("class A { public void main(String[] a) {} }", "", "nothing to start"),
        ("class A { public static int main(String[] a) { return 0; } }", "", "nothing to start"),
        ('class A { public static String run() { return ""; } }', "", "nothing to start"),
        ('abstract class A { public A() {} public String run() { return ""; } }', "", "nothing to start"),
        (f"public class Main {{ {MAIN} }}", "Absent", "`Absent` is not among"),
        (f"class Any {{ {MAIN} }} class B {{}}", "B", "`B` offers no entry point"),
    ],
)
def test_without_one_clear_entry_point_the_message_says_why(
    compiled: Compile, text: str, wanted: str, words: str
) -> None:
    chosen = choose(compiled(text), wanted)
    assert isinstance(chosen, NoEntry)
    assert words in chosen.message


def test_nothing_compiled_is_nothing_to_start() -> None:
    assert isinstance(choose([]), NoEntry)


@given(st.binary(max_size=400))
def test_random_bytes_are_malformed(data: bytes) -> None:
    with pytest.raises(MalformedClass):
        parse(data)


@given(st.binary(max_size=300))
def test_random_bytes_behind_the_magic_number_never_crash(data: bytes) -> None:
    assert isinstance(choose([b"\xca\xfe\xba\xbe\x00\x00\x00\x3d" + data]), NoEntry | Entry)


@given(at=st.integers(0, 10_000), value=st.integers(0, 255), cut=st.integers(0, 10_000))
def test_a_damaged_class_file_parses_or_is_malformed(sample: bytes, at: int, value: int, cut: int) -> None:
    damaged = bytearray(sample)
    damaged[at % len(sample)] = value
    assert isinstance(choose([bytes(damaged)]), NoEntry | Entry)
    with pytest.raises(MalformedClass):
        parse(sample[: cut % len(sample)])
