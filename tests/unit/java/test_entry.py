"""Where a program starts (P2): rules on classes that javac made, and a parser that no bytes can hurt."""

from __future__ import annotations

import struct
import subprocess
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.java.classfile import ClassFile, MalformedClass, parse
from cluster.java.entry import Entry, NoEntry, choose

MAIN = "public static void main(String[] a) {}"
RUN = 'public String run() { return ""; }'

Compile = Callable[[str], list[bytes]]

_BATCH = """import java.nio.file.*;
public class Batch {
    public static void main(String[] directories) throws Exception {
        var javac = javax.tools.ToolProvider.getSystemJavaCompiler();
        for (String name : directories) {
            try (var found = Files.list(Path.of(name))) {
                String source = found.findFirst().orElseThrow().toString();
                if (javac.run(null, null, null, "-proc:none", "-d", name, source) != 0) System.exit(1);
            }
        }
    }
}
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """The classes of one of the tests' bare sources: all are compiled by one virtual machine."""
    base = tmp_path_factory.mktemp("sources")
    (base / "Batch.java").write_text(_BATCH)
    texts = [
        *(text for text, _, _ in FOUND),
        *(text for text, _, _ in MISSING),
        *(text for text, _ in NEARLY),
    ]
    directories = {text: base / str(number) for number, text in enumerate([*texts, *map(short, SHORT)])}
    for text, directory in directories.items():
        directory.mkdir()
        name = "Main" if "class Main" in text else "Any"
        (directory / f"{name}.java").write_text(text)
    subprocess.run(["java", str(base / "Batch.java"), *map(str, directories.values())], check=True)
    return lambda text: [path.read_bytes() for path in sorted(directories[text].rglob("*.class"))]


def short(members: str) -> str:
    """A source of a class with these."""
    return f"class Main {{ {members} }}"


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """One class file with a bit of everything."""
    directory = tmp_path_factory.mktemp("sample")
    text = "public class Main { long l = 1L << 40; double d = .5; Runnable r = () -> {}; class In {} %s }"
    (directory / "Main.java").write_text(text % MAIN)
    subprocess.run(["javac", "-proc:none", "-d", str(directory), str(directory / "Main.java")], check=True)
    return (directory / "Main.class").read_bytes()


FOUND = [
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
]


@pytest.mark.parametrize(("text", "wanted", "expected"), FOUND)
def test_the_entry_point_follows_the_rules(
    compiled: Compile, text: str, wanted: str, expected: Entry
) -> None:
    assert choose(compiled(text), wanted) == expected


MISSING = [
    (f"class A {{ {MAIN} }} class B {{ {MAIN} }}", "", "A, B"),
    ("class A {}", "", "classes: A"),
    ("class A { static void main(String[] a) {} }", "", "nothing to start"),
    ("class A { public void main(String[] a) {} }", "", "nothing to start"),
    ("class A { public static int main(String[] a) { return 0; } }", "", "nothing to start"),
    ('class A { public static String run() { return ""; } }', "", "nothing to start"),
    ('abstract class A { public A() {} public String run() { return ""; } }', "", "nothing to start"),
    (f"public class Main {{ {MAIN} }}", "Absent", "`Absent` is not among"),
    (f"class Any {{ {MAIN} }} class B {{}}", "B", "`B` offers no entry point"),
]


@pytest.mark.parametrize(("text", "wanted", "words"), MISSING)
def test_without_one_clear_entry_point_the_message_says_why(
    compiled: Compile, text: str, wanted: str, words: str
) -> None:
    chosen = choose(compiled(text), wanted)
    assert isinstance(chosen, NoEntry)
    assert words in chosen.message


SHORT = {
    "void main() {}": "main",
    "static void main() {}": "main",
    "void main(String[] a) {}": "main",
    "protected static void main(String[] a) {}": "main",
    f"void main() {{}} {RUN} public Main() {{}}": "run",
    "private void main() {}": "",
    "int main() { return 1; }": "",
    "void main(int x) {}": "",
    "private Main() {} void main() {}": "",
    "Main(int x) {} void main() {}": "",
    "private Main() {} static void main() {}": "main",
}


def _of_release(classes: list[bytes], release: int) -> list[bytes]:
    """As a newer JDK would have compiled the same: only the version differs."""
    return [data[:4] + struct.pack(">HH", 0, 44 + release) + data[8:] for data in classes]


@pytest.mark.parametrize("members", SHORT)
def test_newer_jdks_start_shorter_forms_of_main(compiled: Compile, members: str) -> None:
    """JEP 512: not private, `void`, with or without arguments, of a class or an object that can be."""
    classes = compiled(short(members))
    newer, older = (choose(_of_release(classes, release)) for release in (25, 17))
    kind = SHORT[members]
    assert newer == Entry("Main", kind) if kind else isinstance(newer, NoEntry)
    assert older == Entry("Main", "run") if kind == "run" else isinstance(older, NoEntry)


NEARLY = [
    (
        "class A { void main() {} }",
        "`void main()` of `A` is one of the shorter forms, which came with JDK 25",
    ),
    ("class A { void run() {} }", "`void run()` of `A` is not quite one; write"),
    ('class A { String run() { return ""; } }', "`String run()` of `A` is not quite one"),
    ('class A { public static String run() { return ""; } }', "`public static String run()` of `A`"),
    (
        'class A { public String run(int n, long[][] m) { return ""; } }',
        "`public String run(int, long[][])`",
    ),
    (
        "class A { public static int main(String[] a) { return 0; } }",
        "`public static int main(String[])`",
    ),
    (f"interface A {{ {MAIN.replace('static', 'default')} }}", "`public void main(String[])` of `A`"),
    (
        f"public class Main {{ private Main() {{}} {RUN} }}",
        "`Main` has `run()`, but it has no public constructor",
    ),
    (
        'public abstract class Main { public Main() {} public String run() { return ""; } }',
        "but it is abstract",
    ),
]


@pytest.mark.parametrize(("text", "words"), NEARLY)
def test_what_is_nearly_an_entry_point_is_shown_with_the_reason(
    compiled: Compile, text: str, words: str
) -> None:
    chosen = choose(compiled(text))
    assert isinstance(chosen, NoEntry)
    assert words in chosen.message
    assert "public String run()" in chosen.message


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


def _class_of_one_text(methods: int, lists: int = 0) -> bytes:
    """A class whose name, and the types of whose methods, are one long text; built by hand."""
    name = b"a" * 60_000
    constants = [
        b"\x01" + struct.pack(">H", len(name)) + name,
        b"\x07" + struct.pack(">H", 1),
        b"\x01" + struct.pack(">H", 12) + b"InnerClasses",
        b"\x01" + struct.pack(">H", 4) + b"main",
    ]
    method = struct.pack(">HHHH", 0, 4, 1, 0)
    entries = 1000
    inner = struct.pack(">HIH", 3, 2 + 8 * entries, entries) + struct.pack(">HHHH", 2, 0, 0, 0) * entries
    head = struct.pack(">IHHH", 0xCAFEBABE, 0, 61, len(constants) + 1) + b"".join(constants)
    body = struct.pack(">HHHHH", 0, 2, 0, 0, 0) + struct.pack(">H", methods) + method * methods
    return head + body + struct.pack(">H", lists) + inner * lists


def _traced(data: bytes) -> tuple[ClassFile, int]:
    """What a class file says, and how many bytes its parser had at once."""
    tracemalloc.start()
    try:
        found = parse(data)
        return found, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_class_that_names_one_long_text_again_and_again_is_kept_once() -> None:
    """600 KiB would come to 8 GB otherwise."""
    data = _class_of_one_text(methods=65_535)
    found, most = _traced(data)
    assert len(found.methods) == 65_535
    assert most < 30 * len(data)


def test_many_class_entries_of_one_long_text_are_kept_once() -> None:
    """800 KiB would come to 4 GB otherwise: every name is a new text, with dots."""
    name, classes = b"a/" * 30_000, 2_000
    constants = [
        b"\x01" + struct.pack(">H", len(name)) + name,
        b"\x01" + struct.pack(">H", 12) + b"InnerClasses",
        *[b"\x07" + struct.pack(">H", 1)] * classes,
    ]
    entries = b"".join(struct.pack(">HHHH", 3 + which, 0, 0, 0) for which in range(classes))
    inner = struct.pack(">HIH", 2, 2 + len(entries), classes) + entries
    head = struct.pack(">IHHH", 0xCAFEBABE, 0, 61, len(constants) + 1) + b"".join(constants)
    data = head + struct.pack(">HHHHHHH", 0, 3, 0, 0, 0, 0, 1) + inner
    found, most = _traced(data)
    assert found.nested
    assert found.name == "a." * 30_000
    assert most < 30 * len(data)


def test_a_second_list_of_inner_classes_is_malformed() -> None:
    assert parse(_class_of_one_text(methods=0, lists=1)).nested
    with pytest.raises(MalformedClass, match="two lists"):
        parse(_class_of_one_text(methods=0, lists=2))
