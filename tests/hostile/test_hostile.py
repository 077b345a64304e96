"""Hostile programs: each gets the right verdict, keeps what it wrote, leaves nothing behind (R2, S1-S5)."""

from __future__ import annotations

import pytest

from cluster.wire.jobs import Run, Verdict
from tests.support.java_driver import JavaDriver, main_class, program

UNSAFE = (
    'var field = sun.misc.Unsafe.class.getDeclaredField("theUnsafe"); field.setAccessible(true);'
    " var unsafe = (sun.misc.Unsafe) field.get(null);"
)
SLEEPER = "Runnable wait = () -> { try { Thread.sleep(100000); } catch (Exception e) {} };"


def ended(run: Run) -> tuple[Verdict, str]:
    """Verdict and detail."""
    return run.verdict, run.detail


def test_an_endless_loop_ends_at_the_limit_of_processor_time(java: JavaDriver) -> None:
    run = java.run(main_class('System.out.println("begun"); while (true) {}'), cpu_s=0.5)
    assert ended(run) == (Verdict.TIME_LIMIT, "cpu")
    assert run.stdout == b"begun\n"


def test_threads_share_one_limit_of_processor_time(java: JavaDriver) -> None:
    spin = "for (int i = 0; i < 8; i++) new Thread(() -> { while (true) {} }).start();"
    assert ended(java.run(main_class(spin), cpu_s=0.5)) == (Verdict.TIME_LIMIT, "cpu")


@pytest.mark.parametrize(
    "body",
    [
        "Thread.sleep(100000);",
        "new Thread(() -> { try { Thread.sleep(100000); } catch (Exception e) {} }).start();",
        "Runtime.getRuntime().addShutdownHook(new Thread(() -> { while (true) {} })); System.exit(0);",
    ],
)
def test_what_waits_for_ever_ends_at_the_wall_limit(java: JavaDriver, body: str) -> None:
    """A hook that never ends is no success, though the exit code was 0."""
    run = java.run(main_class('System.out.print("begun"); ' + body), wall_s=0.6, cpu_s=5.0)
    assert ended(run) == (Verdict.TIME_LIMIT, "wall")
    assert run.stdout == b"begun"


def test_a_daemon_thread_keeps_nobody(java: JavaDriver) -> None:
    body = "Thread t = new Thread(() -> { while (true) {} }); t.setDaemon(true); t.start();"
    assert java.run(main_class(body)).verdict is Verdict.OK


@pytest.mark.parametrize("stream", ["out", "err"])
def test_a_flood_is_cut_and_ended(java: JavaDriver, stream: str) -> None:
    run = java.run(main_class(f"while (true) System.{stream}.println(1234567);"), output_bytes=10_000)
    assert ended(run) == (Verdict.OUTPUT_LIMIT, f"std{stream}")
    kept = run.stdout if stream == "out" else run.stderr
    assert kept == (b"1234567\n" * 1250)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ("List<byte[]> all = new ArrayList<>(); while (true) all.add(new byte[1 << 20]);", "heap"),
        ("int[] much = new int[1_000_000_000];", "heap"),
        (
            "List<Object> all = new ArrayList<>(); while (true) all.add(ByteBuffer.allocateDirect(1 << 20));",
            "direct",
        ),
        (
            f"{SLEEPER} for (int i = 0; i < 10000; i++) new Thread(wait).start();",
            "threads",
        ),
        (
            UNSAFE + " while (true) unsafe.setMemory(unsafe.allocateMemory(1 << 20), 1 << 20, (byte) 1);",
            "native",
        ),
    ],
)
def test_memory_ends_with_the_part_that_ended(java: JavaDriver, body: str, detail: str) -> None:
    assert ended(java.run(main_class(body), cpu_s=3.0)) == (Verdict.MEMORY_LIMIT, detail)


@pytest.mark.parametrize(
    "body",
    [
        'System.err.println("java.lang.OutOfMemoryError: Java heap space"); System.exit(1);',
        'System.out.println("java.lang.OutOfMemoryError"); throw new RuntimeException("OutOfMemoryError");',
    ],
)
def test_a_printed_word_changes_no_verdict(java: JavaDriver, body: str) -> None:
    assert ended(java.run(main_class(body))) == (Verdict.RUNTIME_ERROR, "")


def test_a_forged_record_changes_no_verdict(java: JavaDriver) -> None:
    """R2: finding the descriptor of the trusted channel is not enough."""
    forge = (
        UNSAFE + " var d = new FileDescriptor();"
        ' unsafe.putInt(d, unsafe.objectFieldOffset(FileDescriptor.class.getDeclaredField("fd")), 4);'
        " new FileOutputStream(d).write(new byte[] {'D', 0, 0, 0, 16, 0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0});"
        ' throw new IllegalStateException("mine");'
    )
    run = java.run(main_class(forge))
    assert (run.verdict, run.exit_code) == (Verdict.RUNTIME_ERROR, 1)


@pytest.mark.parametrize(
    "body",
    [
        'new ProcessBuilder("/bin/sh").start();',
        'new ProcessBuilder(System.getProperty("java.home") + "/bin/java", "-version").start();',
        'new Socket("127.0.0.1", 22);',
        'InetAddress.getByName("example.org");',
        'Files.readString(Path.of("/etc/passwd"));',
        'Files.list(Path.of("/home"));',
        'Files.writeString(Path.of("/mark"), "x");',
        'Files.writeString(Path.of(System.getProperty("java.home"), "mark"), "x");',
        'Files.readString(Path.of("/proc/self/maps"));',
        'Files.newOutputStream(Path.of("/run/harness.jar"));',
    ],
)
def test_the_host_is_out_of_reach(java: JavaDriver, body: str) -> None:
    """S1, S2: no processes, no network, no files of the host, nothing to write outside its own."""
    run = java.run(main_class(body))
    assert (run.verdict, run.exit_code) == (Verdict.RUNTIME_ERROR, 1)
    assert b"Exception" in run.stderr


def test_nothing_of_one_program_is_there_for_the_next(java: JavaDriver) -> None:
    marks = 'for (String d : new String[] {"/tmp", "/dev/shm", "/app"}) '
    assert java.run(main_class(marks + 'Files.writeString(Path.of(d, "mark"), "x");')).verdict is Verdict.OK
    run = java.run(main_class(marks + 'System.out.print(Files.exists(Path.of(d, "mark")));'))
    assert run.stdout == b"falsefalsefalse"


def test_the_temporary_directory_is_bounded(java: JavaDriver) -> None:
    body = 'for (int n = 0; ; n++) Files.write(Path.of("/tmp/" + n), new byte[1 << 20]);'
    run = java.run(main_class(body), tmp_bytes=8 << 20)
    assert run.verdict is Verdict.RUNTIME_ERROR
    assert "No space left on device" in run.message


def test_a_crash_of_the_virtual_machine_is_a_signal(java: JavaDriver) -> None:
    run = java.run(main_class(UNSAFE + " unsafe.putInt(0L, 1);"))
    assert run.verdict is Verdict.SIGNALLED
    assert run.exit_code is None


def test_a_halt_keeps_its_exit_code(java: JavaDriver) -> None:
    run = java.run(main_class('System.out.print("x"); Runtime.getRuntime().halt(7);'))
    assert (run.verdict, run.exit_code, run.stdout) == (Verdict.RUNTIME_ERROR, 7, b"x")


@pytest.mark.parametrize(
    "expression", ["(" * 20_000 + "1" + ")" * 20_000, "+".join(["1"] * 30_000)], ids=["parentheses", "sum"]
)
def test_a_source_that_exhausts_the_compiler_is_a_compile_error(java: JavaDriver, expression: str) -> None:
    outcome = java.outcome(program(f"public class Deep {{ int x = {expression}; }}"))
    assert outcome.verdict is Verdict.COMPILE_ERROR
    assert outcome.message


def test_a_compilation_over_its_limit_ends_and_the_compiler_is_replaced(java: JavaDriver) -> None:
    nested = "a"
    for depth in range(9):
        nested = f"pick(() -> {nested}, () -> {nested})" if depth < 8 else nested
    slow = (
        "import java.util.function.*; public class Slow { "
        "static <T> T pick(Supplier<T> one, Supplier<T> other) { return null; } "
        f"static <T> T pick(Supplier<T> one, Callable<T> other) {{ return null; }} "
        "interface Callable<T> { T call() throws Exception; } "
        f"String a = null; Object x = {nested}; }}"
    )
    outcome = java.outcome(program(slow, compile_s=0.3))
    assert outcome.verdict is Verdict.TIME_LIMIT
    assert outcome.runs[0].detail == "compile"


def test_a_cancelled_job_ends_and_frees_its_slot(java: JavaDriver) -> None:
    """W9."""
    job = java.submit(program(main_class("while (true) Thread.sleep(1000);"), wall_s=10.0))
    before = java.snapshot()
    assert before.snapshot is not None
    java.send(op="cancel", id=job)
    answer = java.read()
    assert answer.id == job
    assert answer.outcome is not None
    assert answer.outcome.verdict is Verdict.CANCELLED


def test_a_job_past_its_deadline_expires(java: JavaDriver) -> None:
    outcome = java.outcome(program(main_class("Thread.sleep(100000);")), remaining_s=0.5)
    assert outcome.verdict is Verdict.EXPIRED
