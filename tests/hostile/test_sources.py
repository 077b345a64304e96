"""Sources that mean harm to the compiler, C1 to C14 of the catalogue (J1)."""

from __future__ import annotations

import time

import pytest

from cluster.wire.jobs import Outcome, Program, Source, Verdict
from tests.support.java_driver import ANSWER_S, JavaDriver, program

RUN = 'public String run() { return "fine"; }'


def compiled(java: JavaDriver, *sources: tuple[str, str]) -> Outcome:
    return java.outcome(Program(tuple(Source(name, text) for name, text in sources)))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("public class A {\n  int x = ;\n}", 2),
        ("public class A {\r\n  int x = ;\r\n}", 2),
        ("public class A {\n  int x = \x00;\n}", 2),
        ("\ufeffpublic class A {\n  int x = ;\n}", 2),
        ("public class A { int x = 1; ", 1),
        ("\u00e4\u00f6 ???", 1),
    ],
    ids=["plain", "crlf", "nul", "bom", "end", "noise"],
)
def test_a_wrong_source_is_told_where(java: JavaDriver, text: str, line: int) -> None:
    """C1."""
    outcome = compiled(java, ("A.java", text))
    assert outcome.verdict is Verdict.COMPILE_ERROR
    assert outcome.compilation is not None
    found = outcome.compilation.diagnostics[0]
    assert found.line == line
    assert found.column > 0


def test_errors_without_number_are_cut(java: JavaDriver) -> None:
    """C2: how many there are is told however long they are."""
    many = "public class A {" + "int x = y;\n" * 20_000 + "}"
    long = "public class A { int x = " + "y" * 500_000 + "; }"
    for text, end in ((many, "\n100 errors\n"), (long, "\n1 error\n")):
        outcome = compiled(java, ("A.java", text))
        assert outcome.verdict is Verdict.COMPILE_ERROR
        assert outcome.compilation is not None
        assert 1 <= len(outcome.compilation.diagnostics) <= 100
        assert len(outcome.compilation.text.encode()) <= 64 * 1024
        assert outcome.compilation.text.endswith(end)


_LAMBDAS = "() -> " * 40 + "1"
_BIG_METHOD = "int x = 0; " + "x += x * 31 + 7; " * 12_000
_CONSTANTS = "".join(f'static final String s{n} = "c{n}"; ' for n in range(33_000))


@pytest.mark.parametrize(
    "members",
    [
        f"int x = {'(' * 20_000}1{')' * 20_000};",
        f"int x = {'+'.join(['1'] * 30_000)};",
        f"String s = {'+'.join(['a()'] * 3_000)}; String a() {{ return null; }}",
        f"Object o = {'true ? 1 : ' * 8_000}2;",
        f"void m() {{ {_BIG_METHOD} }}",
        _CONSTANTS,
    ],
    ids=["parentheses", "sum", "concatenation", "conditional", "method", "constants"],
)
def test_a_source_that_exhausts_the_compiler_ends_soon_and_the_compiler_goes_on(
    java: JavaDriver, members: str
) -> None:
    """C3: what javac can't hold is a compile error; what it can is none of our business."""
    outcome = java.outcome(program(f"public class Deep {{ {members} {RUN} }}", compile_s=10.0))
    assert outcome.verdict in {Verdict.COMPILE_ERROR, Verdict.OK, Verdict.TIME_LIMIT, Verdict.RUNTIME_ERROR}
    assert compiled(java, ("", f"public class A {{ {RUN} }}")).verdict is Verdict.OK


_DOUBLED = " ".join(f"static final String S{n + 1} = S{n} + S{n};" for n in range(24))


def test_a_source_that_fills_the_compilers_heap_costs_one_compiler(java: JavaDriver) -> None:
    """C3, J1: it is not tried on the spare, which would end in the same way."""
    before = java.snapshot().snapshot
    source = f'public class Doubled {{ static final String S0 = "0123456789abcdef"; {_DOUBLED} {RUN} }}'
    outcome = compiled(java, ("", source))
    assert outcome.verdict is Verdict.COMPILE_ERROR
    assert outcome.message == "the compiler ran out of memory on this source"
    assert outcome.compilation is not None
    assert outcome.compilation.crashed, "no cache may keep it"
    assert compiled(java, ("", f"public class A {{ {RUN} }} // after Doubled")).verdict is Verdict.OK
    after = java.snapshot().snapshot
    assert before is not None
    assert after is not None
    for what in ("crashes", "compilers_lost"):
        assert after[what] == before[what] + 1


def _large(number: int) -> str:
    methods = " ".join(f"int m{n}(int a) {{ return a * {number} + {n}; }}" for n in range(40))
    return "class Large {" + "\n".join(f"class C{n} {{ {methods} }}" for n in range(1000)) + "}"


@pytest.mark.exhaustive
def test_a_compiler_that_large_sources_left_large_is_replaced(java: JavaDriver) -> None:
    """J1: what they took is given back, and no job waits for that."""
    before = after = java.snapshot().snapshot
    assert before is not None
    deadline = time.monotonic() + ANSWER_S  # noqa: TID251  (a test that waits for real processes)
    number = 0
    while after is None or after["recycles"] == before["recycles"]:
        assert time.monotonic() < deadline, after  # noqa: TID251
        if number < 4:
            number += 1
            outcome = java.outcome(program(_large(number), compile_s=30.0))
            assert "nothing to start" in outcome.message
        time.sleep(0.1)
        after = java.snapshot().snapshot
    assert compiled(java, ("", f"public class A {{ {RUN} }} // after Large")).verdict is Verdict.OK
    assert after["compilers_lost"] == before["compilers_lost"]


def test_a_compilation_over_its_limit_ends_and_the_compiler_is_replaced(java: JavaDriver) -> None:
    """C3: inference that doubles with each level."""
    nested = "a"
    for _ in range(8):
        nested = f"pick(() -> {nested}, () -> {nested})"
    slow = (
        "import java.util.function.*; public class Slow { "
        "static <T> T pick(Supplier<T> one, Supplier<T> other) { return null; } "
        "static <T> T pick(Supplier<T> one, Callable<T> other) { return null; } "
        "interface Callable<T> { T call() throws Exception; } "
        f"String a = null; Object x = {nested}; }}"
    )
    outcome = java.outcome(program(slow, compile_s=0.3))
    assert outcome.verdict is Verdict.TIME_LIMIT
    assert outcome.runs[0].detail == "compile"


def test_no_source_runs_anything_in_the_compiler(java: JavaDriver) -> None:
    """C5: no processors, no option files, no options by name."""
    processor = (
        "package p; import javax.annotation.processing.*; import java.util.*; import javax.lang.model.element.*;"
        '@SupportedAnnotationTypes("*") public class Spy extends AbstractProcessor { '
        "public boolean process(Set<? extends TypeElement> a, RoundEnvironment r) { System.exit(9); return true; } }"
    )
    main = ("Main.java", f"public class Main {{ {RUN} }}")
    assert compiled(java, ("p/Spy.java", processor), main).verdict is Verdict.OK
    for name in ("-J-Xmx1g", "@args", "-cp", "--version", "-processor"):
        outcome = compiled(java, (name, "class Other { }"), main)
        assert outcome.verdict in {Verdict.OK, Verdict.COMPILE_ERROR}
    module = ("module-info.java", "module m { requires no.such.thing; }")
    assert compiled(java, module, main).verdict is Verdict.COMPILE_ERROR


@pytest.mark.parametrize(
    ("name", "text", "verdict"),
    [
        ("\u00c4pfel", "public class \u00c4pfel {{ {run} }}", Verdict.OK),
        ("L" * 200, "public class {name} {{ {run} }}", Verdict.OK),
        ("L" * 249, "public class {name} {{ {run} }}", Verdict.OK),
        ("L" * 250, "public class {name} {{ {run} }}", Verdict.COMPILE_ERROR),
        ("\u0444" * 125, "public class {name} {{ {run} }}", Verdict.COMPILE_ERROR),
        ("A", "public class A {{ {run} static class N" + "n" * 250 + " {{ }} }}", Verdict.COMPILE_ERROR),
        ("A", "package " + "p." * 2100 + "p; public class A {{ {run} }}", Verdict.COMPILE_ERROR),
        ("con", "public class con {{ {run} }}", Verdict.OK),
        ("bin/A", "package bin; public class A {{ {run} }}", Verdict.OK),
        ("java/lang/A", "package java.lang; public class A {{ {run} }}", Verdict.COMPILE_ERROR),
        ("javacluster/internal/Launcher", "package javacluster.internal; public class Launcher {{ {run} }}", Verdict.COMPILE_ERROR),
        ("$(reboot)", "public class A {{ {run} }}", Verdict.COMPILE_ERROR),
        ("../../../tmp/A", "public class A {{ {run} }}", Verdict.OK),
    ],
)  # fmt: skip
def test_names_are_names_and_nothing_else(java: JavaDriver, name: str, text: str, verdict: Verdict) -> None:
    """C6, F7: a name reaches no path of the host; where it is no name for Java, that is a compile error."""
    outcome = compiled(java, (f"{name}.java", text.format(name=name, run=RUN)))
    assert outcome.verdict is verdict, outcome
    assert (len(outcome.message) > 0) == (verdict is Verdict.COMPILE_ERROR), outcome


def test_classes_that_differ_in_case_or_nest_stay_apart(java: JavaDriver) -> None:
    """C8."""
    text = (
        'class a { String of() { return "a"; } } class A { class B { class a { } } String of() { return "A"; } } '
        "public class Main { public String run() { return new a().of() + new A().of() + new A().new B().new a().getClass().getName(); } }"
    )
    outcome = compiled(java, ("Main.java", text))
    assert outcome.runs[0].value == b"aAA$B$a"


def test_preview_features_are_off_and_warnings_are_no_errors(java: JavaDriver) -> None:
    """C9, C11."""
    preview = "public class A { String of(Object o) { return switch (o) { case String s when s.isEmpty() -> s; default -> null; }; } }"
    assert compiled(java, ("A.java", preview)).verdict is Verdict.COMPILE_ERROR
    raw = f"import java.util.*; public class A {{ {RUN} @Deprecated void old() {{ List l = new ArrayList(); l.add(1); new Date(1, 2, 3); }} }}"
    outcome = compiled(java, ("A.java", raw))
    assert outcome.verdict is Verdict.OK
    assert outcome.compilation is not None
    assert outcome.compilation.diagnostics


@pytest.mark.exhaustive
def test_a_thousand_sources_leave_the_compiler_as_it_was(java: JavaDriver) -> None:
    """C10; the soak goes further."""
    for number in range(1000):
        text = f"public class A{number} {{ int x{number}; }}"
        assert compiled(java, ("", text)).verdict is Verdict.COMPILE_ERROR  # nothing to start
    assert compiled(java, ("", f"public class A {{ {RUN} }}")).verdict is Verdict.OK


def test_a_source_sees_no_file_of_the_host_and_no_class_of_another(java: JavaDriver) -> None:
    """C13."""
    for body in (
        "tests.Other x;",
        "javacluster.internal.Compiler x;",
        "com.sun.tools.javac.api.JavacTaskPool x;",
    ):
        assert (
            compiled(java, ("A.java", f"public class A {{ {body} {RUN} }}")).verdict is Verdict.COMPILE_ERROR
        )


def test_the_same_source_again_and_again_at_once_is_right_each_time(java: JavaDriver) -> None:
    """C14."""
    jobs = {java.submit(program(f"public class Same {{ {RUN} }}")) for _ in range(12)}
    answers = [java.read() for _ in jobs]
    assert {answer.id for answer in answers} == jobs
    assert all(answer.outcome and answer.outcome.runs[0].value == b"fine" for answer in answers)


@pytest.mark.parametrize(
    ("module", "sound"),
    [
        ("java.sql", "import java.sql.*; public class A {{ Connection open; {run} }}"),
        ("java.logging", "public class A {{ java.util.logging.Logger log; {run} }}"),
        ("java.desktop", "public class A {{ java.awt.Point at; {run} }}"),
        ("java.base", "public class A {{ java.util.List<String> all; {run} }}"),
    ],
)
def test_a_module_called_like_one_of_the_jdks_hides_nothing_from_the_next(
    java: JavaDriver, module: str, sound: str
) -> None:
    """C13: the first such source fails, and the second meets a compiler that has just begun anew."""
    for number in range(2):
        text = f"module {module} {{ }} // {number}"
        compiled(java, ("module-info.java", text), ("B.java", "class B { }"))
    victim = compiled(java, ("", sound.format(run=RUN)))
    assert victim.verdict is Verdict.OK, victim


@pytest.mark.parametrize(
    ("first", "name"),
    [
        ("class Outer { static class Inner { } }", "Outer$Inner"),
        ("class Outer { record R(int n) { } }", "Outer$R"),
        ("class Outer { interface I { } enum E { X } }", "Outer$E"),
        ("class Outer { void m() { class Local { } } }", "Outer$1Local"),
        ("class Outer { Object o = new Object() { }; }", "Outer$1"),
        ("class Outer { void m() { if (false) { class Dead { } } } }", "Outer$1Dead"),
        ("package pack; public class Seen { }", "pack.Seen"),
    ],
)
def test_a_class_of_one_source_is_none_for_the_next(java: JavaDriver, first: str, name: str) -> None:
    """C13: neither its nested classes nor its packages."""
    main = f"public class A {{ {RUN} }}"
    where = "pack/Seen.java" if first.startswith("package") else "Outer.java"
    assert compiled(java, (where, first), ("A.java", main)).verdict is Verdict.OK
    seen = compiled(java, ("", f"public class B {{ {name} leak; {RUN} }}"))
    assert seen.verdict is Verdict.COMPILE_ERROR
    assert compiled(java, (where, first), ("A.java", f"{main} // again")).verdict is Verdict.OK
    simple = name.rpartition(".")[2]
    own = f"public class {simple} {{ public String run() {{ return getClass().getSimpleName(); }} }}"
    outcome = compiled(java, ("", f"class pack {{ }} {own}"))
    assert (outcome.verdict, outcome.runs[0].value) == (Verdict.OK, simple.encode())


@pytest.mark.parametrize("shape", ["{classes}", "class Outer {{ {classes} }}", "package p; {classes}"])
def test_more_classes_than_a_program_may_have_are_a_compile_error_that_says_so(
    java: JavaDriver, shape: str
) -> None:
    """P2, C3: each is looked at for an entry, and is a file for the virtual machine."""
    classes = " ".join(f"class C{number} {{ }}" for number in range(2001))
    outcome = compiled(java, ("Outer.java", shape.format(classes=classes)))
    assert outcome.verdict is Verdict.COMPILE_ERROR
    assert "at most 2000 classes" in outcome.message
    assert compiled(java, ("", f"public class A {{ {RUN} }}")).verdict is Verdict.OK


def test_as_many_classes_as_a_program_may_have_run(java: JavaDriver) -> None:
    classes = " ".join(f"class C{number} {{ }}" for number in range(1999))
    outcome = compiled(java, ("", f"{classes} public class A {{ {RUN} }}"))
    assert outcome.verdict is Verdict.OK, outcome
