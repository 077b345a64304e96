"""Ordinary programs: what they print, return and die of is what plain `java` would give (P1-P4, R1-R3)."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import msgspec
import pytest

from cluster.java.jdk import find
from cluster.limits import MIB
from cluster.wire.jobs import DataFile, Input, Program, Source, Verdict
from tests.hostile.catalogue import UNSAFE
from tests.support.java_driver import JavaDriver, main_class, program

MAIN = "public static void main(String[] a) {}"


def test_run_returns_its_value(java: JavaDriver) -> None:
    text = 'public String run() { return "grüezi \\uD83D\\uDE00"; }'
    run = java.run(f"class Hidden {{}} public class Greeting {{ {text} }}")
    assert (run.verdict, run.value, run.stdout, run.exit_code) == (Verdict.OK, "grüezi 😀".encode(), b"", 0)


def test_main_sees_its_arguments_and_its_input(java: JavaDriver) -> None:
    text = main_class("System.out.print(Arrays.toString(args)); System.in.transferTo(System.out);")
    run = java.run(text, Input(args=("a b", "ü", ""), stdin=b"\x00\xff\n"))
    assert run.stdout == "[a b, ü, ]".encode() + b"\x00\xff\n"
    assert run.value is None


def test_a_program_is_compiled_once_and_run_for_each_input(java: JavaDriver) -> None:
    before = java.snapshot().snapshot
    base = program(main_class("System.out.print(args[0]);"))
    inputs = tuple(Input(args=(word,)) for word in ("one", "two", "three"))
    outcome = java.outcome(Program(base.sources, inputs=inputs, limits=base.limits))
    after = java.snapshot().snapshot
    assert [run.stdout for run in outcome.runs] == [b"one", b"two", b"three"]
    assert before is not None
    assert after is not None
    assert after["compilations"] - before["compilations"] == 1


def test_a_program_finds_its_data_files_and_the_next_one_does_not(java: JavaDriver) -> None:
    body = """
        for (String name : new TreeSet<>(List.of(new File(".").list((d, n) -> n.contains(".")))))
            System.out.println(name + " " + Files.readAllBytes(Path.of(name)).length);
        if (Files.exists(Path.of("deep/er/a"))) System.out.println(Files.readString(Path.of("deep/er/a")));
        if (args.length > 0) Files.writeString(Path.of(args[0]), "changed");
        """
    base = program(main_class(body))
    files = (
        DataFile("words.txt", b"one\ntwo\n"),
        DataFile("raw.bin", bytes(range(256)) * 16),
        DataFile("deep/er/a", b"x"),
    )
    inputs = (Input(args=("words.txt",)), Input())
    outcome = java.outcome(Program(base.sources, inputs=inputs, limits=base.limits, files=files))
    told = b"raw.bin 4096\nwords.txt 8\nx\n"
    assert [run.stdout for run in outcome.runs] == [told, told]
    assert java.outcome(base).runs[0].stdout == b""


def test_several_files_and_packages_run_together(java: JavaDriver) -> None:
    sources = (
        Source(
            "app/Main.java",
            "package app; public class Main { public String run() { return lib.Text.of(7); } }",
        ),
        Source(
            "lib/Text.java",
            'package lib; public class Text { public static String of(int n) { return "n" + n; } }',
        ),
    )
    outcome = java.outcome(Program(sources))
    assert outcome.verdict is Verdict.OK, outcome
    assert outcome.runs[0].value == b"n7"


def test_a_compile_error_names_its_place(java: JavaDriver) -> None:
    outcome = java.outcome(program('public class Bad {\n    int x = "text";\n}\n'))
    assert outcome.verdict is Verdict.COMPILE_ERROR
    assert outcome.compilation is not None
    found = outcome.compilation.diagnostics[0]
    assert (found.file, found.line, found.column, found.severity) == ("Bad.java", 2, 13, "error")
    assert found.code == "compiler.err.prob.found.req"
    assert "1 error" in outcome.compilation.text
    assert outcome.runs == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"class A {{ {MAIN} }} class B {{ {MAIN} }}", "A, B"),
        ("public class Empty {}", "Empty"),
        ("", "nothing to start"),
        ("// nothing\n", "nothing to start"),
    ],
)
def test_no_single_entry_point_is_a_compile_error_that_names_candidates(
    java: JavaDriver, text: str, words: str
) -> None:
    outcome = java.outcome(program(text))
    assert outcome.verdict is Verdict.COMPILE_ERROR
    assert words in outcome.message


def test_an_error_is_told_however_many_warnings_come_before_it(java: JavaDriver) -> None:
    """R1."""
    warned = "".join(f"Object o{n} = new Integer({n});" for n in range(110))
    outcome = java.outcome(program(f'public class M {{ {warned} int x = "t"; }}'))
    assert outcome.compilation is not None
    severities = [found.severity for found in outcome.compilation.diagnostics]
    assert (len(severities), severities.count("error"), severities[-1]) == (100, 1, "error")
    assert "incompatible types" in outcome.message


def test_diagnostics_are_in_the_words_of_plain_javac(java: JavaDriver, tmp_path: Path) -> None:
    """R1."""
    text = (
        'import java.util.*;\nclass Bad {\n int x = "t";\n List<String> l = new ArrayList<Integer>(y);\n}\n'
    )
    (tmp_path / "Bad.java").write_text(text)
    plain = subprocess.run(["javac", "Bad.java"], cwd=tmp_path, capture_output=True, check=False)
    outcome = java.outcome(Program((Source("Bad.java", text),)))
    assert outcome.compilation is not None
    assert outcome.compilation.text == plain.stderr.decode()


def test_an_exit_code_is_reported_as_such_and_not_as_a_signal(java: JavaDriver) -> None:
    for code in (3, 137, 139, 143):
        run = java.run(main_class(f'System.out.print("before"); System.exit({code});'))
        assert (run.verdict, run.exit_code, run.signal) == (Verdict.RUNTIME_ERROR, code, None)
        assert run.stdout == b"before"


PLAIN = {
    "cause": main_class(
        'try { Integer.parseInt("x"); } catch (Exception e) { throw new IllegalStateException("w", e); }'
    ),
    "initialiser": main_class("", "static { if (true) { int[] none = null; none[0] = 1; } }"),
    "lambda": main_class("List.of(1).forEach(x -> { throw new RuntimeException(); });"),
    "recursion": main_class("again(1);", "static int again(int n) { return again(n + 1) + 1; }"),
    "memory": main_class("int[] much = new int[Integer.MAX_VALUE / 2];"),
    "memory, as a cause": main_class(
        "try { int[] much = new int[Integer.MAX_VALUE / 2]; }"
        ' catch (OutOfMemoryError e) { throw new RuntimeException("w", e); }'
    ),
    "hostile": main_class(
        "throw new RuntimeException() { @Override public String toString() { return null; } };"
    ),
    "initialiser's error": main_class("", 'static { if (true) throw new AssertionError("bad"); }'),
    "seen from an initialiser": main_class("throw new Error();", "static { new Error().printStackTrace(); }"),
    "inherited": (
        "public class M extends Base { static { if (true) throw new IllegalStateException(); } } "
        "class Base { public static void main(String[] a) { } }"
    ),
    "inherited, an error": (
        'public class M extends Base { static { if (true) throw new Error("bad"); } } '
        "class Base { public static void main(String[] a) { } }"
    ),
    "no cause": main_class(
        "throw new RuntimeException() { @Override public synchronized Throwable getCause()"
        ' { throw new IllegalStateException("cause"); } };'
    ),
    "no frames": main_class(
        "throw new VirtualMachineError() { @Override public StackTraceElement[] getStackTrace()"
        " { return null; } };"
    ),
    "told once": main_class(
        "throw new RuntimeException() { @Override public String toString()"
        ' { System.err.println("asked"); return "E"; } };'
    ),
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_stack_trace_is_that_of_plain_java(java: JavaDriver, tmp_path: Path, name: str) -> None:
    """P4: no frames of ours."""
    (tmp_path / "M.java").write_text(PLAIN[name])
    subprocess.run(["javac", "M.java"], cwd=tmp_path, check=True)
    plain = subprocess.run(
        ["java", "-Xmx64m", "-cp", ".", "M"], cwd=tmp_path, capture_output=True, check=False
    )
    named = msgspec.structs.replace(program(PLAIN[name]), sources=(Source("M.java", PLAIN[name]),))
    run = java.outcome(named).runs[0]
    assert run.exit_code == plain.returncode == 1
    assert run.stderr == plain.stderr


PRINTS = 'public static void main(String[] args) { System.out.print("entered"); }'
RUNS = 'public String run() { System.out.print("entered"); return ""; }'


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (f"public interface M {{ {PRINTS} }}", ""),
        (f"public enum M {{ ONE; {PRINTS} }}", ""),
        (f"public record M(int n) {{ {PRINTS} }}", ""),
        (f"class Base {{ {PRINTS} }} public class M extends Base {{ }}", ""),
        (f"package p.q; class M {{ {PRINTS} }}", ""),
        (f"public class M {{ private static class Inner {{ {PRINTS} }} }}", "M.Inner"),
        (f"class Grüße名 {{ {PRINTS} }}", ""),
        (f"class M {{ {RUNS} }} class N {{ private N() {{ }} }}", ""),
        (f"abstract class Base {{ {RUNS} }} public class M extends Base {{ }}", ""),
        (f"package p; public class M {{ public static class Inner {{ {RUNS} }} }}", "p.M$Inner"),
    ],
)
def test_an_entry_is_entered_wherever_it_stands(java: JavaDriver, text: str, wanted: str) -> None:
    """P2."""
    if "class M { public String run" in text:
        text = text.replace("class M { ", "class M { public M() { } ")
    outcome = java.outcome(msgspec.structs.replace(program(text), main_class=wanted))
    assert outcome.verdict is Verdict.OK, outcome
    assert outcome.runs[0].stdout == b"entered"


FILLED = (
    "static Object[] kept; static void fill() "
    "{ try { for (;;) kept = new Object[] {kept}; } catch (OutOfMemoryError full) { } }"
)


@pytest.mark.parametrize("how_often", [1, 2])
def test_a_program_that_leaves_no_memory_ends_as_it_ended(java: JavaDriver, how_often: int) -> None:
    """R2: in plain java, too, it exits with 0; what tells us so needs no memory."""
    run = java.run(main_class("fill(); " * how_often, FILLED), memory_bytes=48 * MIB)
    assert (run.verdict, run.exit_code) == (Verdict.OK, 0), run
    run_it = (
        f'static String word = "Grüße名😀"; public String run() {{ {"fill(); " * how_often} return word; }}'
    )
    text = f"public class R {{ {FILLED} {run_it} }}"
    run = java.run(text, memory_bytes=48 * MIB)
    assert (run.verdict, run.value) == (Verdict.OK, "Grüße名😀".encode()), run


@pytest.mark.parametrize(
    "body",
    [
        "List<Object> all = new LinkedList<>(); for (;;) all.add(new Object());",
        "Map<Integer, Object> all = new HashMap<>(); for (int n = 0; ; n++) all.put(n, new Object());",
        'StringBuilder all = new StringBuilder("x"); for (;;) all.append(all);',
        "for (;;) kept = new Object[] {kept};",
    ],
)
@pytest.mark.parametrize("megabytes", [32, 256])
def test_memory_that_small_objects_used_up_is_the_memory_limit(
    java: JavaDriver, body: str, megabytes: int
) -> None:
    """R2: the commonest way to it; nothing is left for us either."""
    run = java.run(main_class(body, FILLED), memory_bytes=megabytes * MIB, cpu_s=20)
    assert (run.verdict, run.detail) == (Verdict.MEMORY_LIMIT, "heap"), run


@pytest.mark.parametrize(
    ("value", "bytes_"),
    [
        ('"a\\ud800b"', b"a?b"),
        ('"\\udc00" + "\\ud83d\\ude00"', b"?\xf0\x9f\x98\x80"),
        ('"é".repeat(9000) + "名\\n"', ("é" * 9000 + "名\n").encode()),
        ('""', b""),
    ],
)
def test_a_value_is_what_the_jdk_makes_of_it_in_utf_8(java: JavaDriver, value: str, bytes_: bytes) -> None:
    """R1: half of a pair is a question mark."""
    assert java.run(f"public class R {{ public String run() {{ return {value}; }} }}").value == bytes_


def test_an_exception_from_run_shows_no_frame_of_ours(java: JavaDriver) -> None:
    run = java.run(
        'public class R {\n public String run() {\n throw new RuntimeException("bad\\nluck");\n }\n}'
    )
    assert (run.verdict, run.exit_code, run.message) == (
        Verdict.RUNTIME_ERROR,
        1,
        "java.lang.RuntimeException: bad",
    )
    trace = b'Exception in thread "main" java.lang.RuntimeException: bad\nluck\n\tat R.run(R.java:3)\n'
    assert run.stderr == trace


def test_the_environment_is_that_of_the_promise(java: JavaDriver) -> None:
    """P4: UTF-8, UTC, root locale, one processor, nobody's variables, nobody's threads."""
    run = java.run(
        main_class(
            'System.out.print(java.nio.charset.Charset.defaultCharset() + "|" + TimeZone.getDefault().getID()'
            ' + "|" + Locale.getDefault() + "|" + Runtime.getRuntime().availableProcessors()'
            ' + "|" + Thread.currentThread() + "|" + M.class.getResource("M.class")'
            ' + "|" + System.getProperty("sun.java.command") + "|" + System.getProperty("sun.jnu.encoding")'
            ' + "|" + System.getenv().keySet());'
        )
    )
    shown = run.stdout.decode().split("|")
    assert shown[:5] == ["UTF-8", "UTC", "", "1", "Thread[main,5,main]"]
    assert shown[5:8] == ["file:/app/M.class", "M", "UTF-8"]
    assert "HOME" not in shown[8]


def test_every_byte_survives(java: JavaDriver) -> None:
    """R3: invalid UTF-8 too."""
    run = java.run(main_class("for (int i = 0; i < 256; i++) System.out.write(i); System.out.flush();"))
    assert run.stdout == bytes(range(256))


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_output_is_cut_exactly_at_its_limit(java: JavaDriver, over: int) -> None:
    run = java.run(main_class(f"System.out.write(new byte[{MIB + over}]); System.out.flush();"))
    assert len(run.stdout) == min(MIB, MIB + over)
    assert run.stdout_truncated is (over > 0)
    assert run.verdict is (Verdict.OUTPUT_LIMIT if over > 0 else Verdict.OK)


def test_a_value_over_the_limit_is_an_output_limit(java: JavaDriver) -> None:
    text = 'public class V { public String run() { return "v".repeat(1001); } }'
    run = java.run(text, output_bytes=1000)
    assert (run.verdict, run.detail, run.value) == (Verdict.OUTPUT_LIMIT, "value", None)
    assert java.run(text, output_bytes=1001).value == b"v" * 1001


def test_names_of_one_program_mean_nothing_to_the_next(java: JavaDriver) -> None:
    """J1: the compiler's context is used again, what it learnt from a program is not."""
    ok = 'public String run() { return new String("x"); }'
    assert java.outcome(program(f"class Leak {{}} public class A {{ {ok} }}")).verdict is Verdict.OK
    seen = java.outcome(program(f"public class A {{ Leak leak; {ok} }}"))
    assert seen.verdict is Verdict.COMPILE_ERROR
    shadow = "class String {} public class A { public static void main(java.lang.String[] a) {} }"
    assert java.outcome(program(shadow)).verdict is Verdict.OK
    assert java.outcome(program(f"public class A {{ {ok} }}")).verdict is Verdict.OK
    packaged = Program((Source("p/A.java", f"package p; public class A {{ {ok} }}"),))
    assert java.outcome(packaged).verdict is Verdict.OK
    assert java.outcome(program(f"import p.*; public class B {{ {ok} }}")).verdict is Verdict.COMPILE_ERROR


_ITSELF = """
    Thread thread = Thread.currentThread(); ClassLoader loader = M.class.getClassLoader();
    System.out.println(thread.getName() + "|" + thread.getThreadGroup() + "|" + Thread.activeCount());
    StackWalker.getInstance().forEach(System.out::println);
    new Throwable("here").printStackTrace(System.out);
    System.out.println(loader.getName() + "|" + loader.getClass() + "|" + loader.getParent().getClass());
    System.out.println(loader == ClassLoader.getSystemClassLoader());
    System.out.println(loader == thread.getContextClassLoader());
    System.out.println(System.getProperty("java.class.path") + "|" + System.getProperty("sun.java.command"));
    System.out.println(M.class.getResource("M.class") + "|" + ClassLoader.getSystemResource("M.class"));
    System.out.println(M.class.getProtectionDomain().getCodeSource() + "|" + M.class.getModule().isNamed());
    System.out.println(System.getProperties().toString().contains("javacluster"));
"""


def test_a_program_sees_itself_as_in_plain_java(java: JavaDriver, tmp_path: Path) -> None:
    """J4, P4: whoever looks around finds the main thread, its own classes, and nothing of ours."""
    (tmp_path / "M.java").write_text(main_class(_ITSELF))
    subprocess.run(["javac", "-d", "app", "M.java"], cwd=tmp_path, check=True)
    argv = ["java", "-cp", f"{tmp_path}/app", "M"]
    plain = subprocess.run(argv, cwd=tmp_path, capture_output=True, check=True).stdout.decode()
    outcome = java.outcome(Program((Source("M.java", main_class(_ITSELF)),)))
    assert outcome.runs[0].stdout.decode() == plain.replace(str(tmp_path), "")
    told = java.run(main_class("System.out.print(ProcessHandle.current().info());"))
    assert told.stdout == b"[]", "docs/sandbox.md: nothing is known of processes, its own included"


def test_no_two_machines_draw_the_same_lots(java: JavaDriver) -> None:
    """J1: machines that are made ready alike have randomness of their own."""
    body = """
        System.out.println(Math.random()); System.out.println(new Random().nextLong());
        System.out.println(java.util.concurrent.ThreadLocalRandom.current().nextLong());
        System.out.println(new SplittableRandom().nextLong()); System.out.println(UUID.randomUUID());
        System.out.println(new java.security.SecureRandom().nextLong());
    """
    first, second = (java.run(main_class(body)).stdout.split() for _ in range(2))
    assert len(set(first + second)) == 2 * 6


def reached(java: JavaDriver) -> str:
    """What a program is told that tries to attach to each waiting machine and compiler by its real number."""
    body = """
        System.setProperty("sun.tools.attach.attachTimeout", "500");
        System.out.print(com.sun.tools.attach.VirtualMachine.list());
        for (String pid : args) try {
            System.out.print(" " + ProcessHandle.of(Long.parseLong(pid)).isPresent() + " ");
            com.sun.tools.attach.VirtualMachine.attach(pid); System.out.print("attached");
        } catch (IOException | com.sun.tools.attach.AttachNotSupportedException e) {
            System.out.print(e.getMessage());
        }
    """
    pids = java.machines()
    assert len(pids) > 1
    return java.run(main_class(body), Input(args=tuple(map(str, pids)))).stdout.decode()


def test_no_program_reaches_another_machine(java: JavaDriver) -> None:
    """P9: neither waiting ones nor the compiler, of the same user, though it knows their numbers here."""
    assert re.fullmatch(r"\[\]( false No such process){2,}", reached(java))


_HEARS = """
    java.lang.reflect.Method lock = null;
    for (String name : new String[] {"FileDispatcherImpl", "UnixFileDispatcherImpl"}) try {
        var found = Class.forName("sun.nio.ch." + name);
        for (var m : found.getDeclaredMethods()) if (m.getName().equals("lock0")) lock = m;
    } catch (ClassNotFoundException e) { }
    UNSAFE unsafe.putBoolean(lock, 12L, true); // as setAccessible would
    var heard = new TreeSet<String>();
    for (long end = System.nanoTime() + 2_000_000_000L; System.nanoTime() < end; Thread.sleep(10))
        for (String mode : new String[] {"r", "rw"}) for (boolean shared : new boolean[] {true, false})
            try (var file = new RandomAccessFile(args[0], mode)) {
                heard.add(mode + shared + lock.invoke(null, file.getFD(), false, 0L, 9L, shared));
            } catch (java.lang.reflect.InvocationTargetException e) {
                heard.add(mode + shared + e.getCause().getMessage());
            } catch (IOException e) {
                heard.add(mode + " refused");
            }
    System.out.print(String.join("|", heard));
""".replace("UNSAFE", UNSAFE)
"""All that can be learnt of others' locks on a file, by what the JDK itself calls, in two seconds."""

_HOLDS = """
    var held = java.nio.channels.FileChannel.open(Path.of(args[0])).lock(0, 9, true);
    System.out.print(held.isShared()); Thread.sleep(1000);
"""


def heard_of_locks(java: JavaDriver, path: str) -> str:
    """What one program hears while another takes a lock on that file, holds it and ends."""
    programs = [
        msgspec.structs.replace(program(main_class(body)), inputs=(Input(args=(path,)),))
        for body in (_HOLDS, _HEARS)
    ]
    jobs = [java.submit(each) for each in programs]
    answers = [java.read() for _ in jobs]
    told = {answer.id: answer.outcome.runs[0] for answer in answers if answer.outcome}
    assert told[jobs[0]].stdout == b"true", told
    return told[jobs[1]].stdout.decode()


def test_no_program_hears_anothers_lock(java: JavaDriver) -> None:
    """F10: who can only read a file may lock it, against nobody: none learns whether it is locked."""
    modules = find("").home / "lib" / "modules"
    assert heard_of_locks(java, str(modules)) == "rfalseBad file descriptor|rtrue0|rw refused"
