"""Hostile programs by row: T time, M memory, P processes, O output, F files, N network, C compiler, J Java.

A row has an id, a small program, and the verdicts that are right. `ELSEWHERE` names the rows that another test
shows, and `NOT_HERE` those that cannot apply, with the reason; `test_catalogue.py` holds the three to be the
whole catalogue.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from typing import Any

import attrs

from cluster.java.flags import SHM_BYTES
from cluster.limits import MIB
from cluster.wire.jobs import Input, Run, Verdict
from tests.support.java_driver import main_class

OK, FAILED, TIME, MEMORY = Verdict.OK, Verdict.RUNTIME_ERROR, Verdict.TIME_LIMIT, Verdict.MEMORY_LIMIT
OUTPUT, SIGNALLED = Verdict.OUTPUT_LIMIT, Verdict.SIGNALLED

ROWS_OF = {"T": 14, "M": 17, "P": 14, "O": 13, "F": 14, "N": 7, "C": 14, "J": 14}
"""How many rows the catalogue has in each part."""

UNSAFE = (
    'var field = sun.misc.Unsafe.class.getDeclaredField("theUnsafe"); field.setAccessible(true);'
    " var unsafe = (sun.misc.Unsafe) field.get(null); "
)
_SLEEP = "try { Thread.sleep(100000); } catch (Exception e) { }"
_SLEEPER = f"Runnable wait = () -> {{ {_SLEEP} }}; "
_SPIN = "while (true) { }"


@attrs.frozen
class Row:
    """One program.

    Attributes:
        id: of the catalogue's row; a letter after it tells variants apart.
        text: the source.
        right: verdicts, one of which must come.
        detail: which limit; empty: any.
        limits: what differs from the suite's own.
        check: what else must hold of the run.
        slow: not in the quick part.
    """

    id: str
    text: str
    right: tuple[Verdict, ...]
    detail: str = ""
    limits: dict[str, Any] = attrs.Factory(dict)
    given: Input = attrs.Factory(Input)
    check: Callable[[Run], bool] = lambda _run: True
    slow: bool = False


def holds(row: Row, run: Run) -> bool:
    """Whether the run is what the row says."""
    return run.verdict in row.right and row.detail in {"", run.detail} and row.check(run)


def _row(row: str, body: str, *right: Verdict, members: str = "", **more: Any) -> Row:
    return Row(row, main_class(body, members), right, **more)


def _says(text: bytes) -> Callable[[Run], bool]:
    return lambda run: run.stdout == text


def _begun(run: Run) -> bool:
    return run.stdout.startswith(b"begun")


_BEGIN = 'System.out.println("begun"); '
_SHORT: dict[str, Any] = {"cpu_s": 0.4}
_WALL: dict[str, Any] = {"wall_s": 0.7, "cpu_s": 5.0}

TIME_ROWS = (
    _row("T1", _BEGIN + _SPIN, TIME, detail="cpu", limits=_SHORT, check=_begun),
    _row(
        "T2", _BEGIN + _SLEEP, TIME, detail="wall", limits=_WALL, check=lambda run: run.cpu_s < run.wall_s / 2
    ),
    _row(
        "T3",
        f"for (int i = 0; i < 32; i++) new Thread(() -> {{ {_SPIN} }}).start();",
        TIME,
        detail="cpu",
        limits=_SHORT,
    ),
    _row("T4", f"Thread t = new Thread(() -> {{ {_SPIN} }}); t.setDaemon(true); t.start();", OK),
    _row("T5", _SLEEPER + "new Thread(wait).start();", TIME, detail="wall", limits=_WALL),
    _row(
        "T6",
        f"Runtime.getRuntime().addShutdownHook(new Thread(() -> {{ {_SLEEP} }})); System.exit(0);",
        TIME,
        detail="wall",
        limits=_WALL,
    ),
    _row("T7a", "System.out.print(System.in.read());", OK, check=_says(b"-1")),
    _row("T7b", "Object o = new Object(); synchronized (o) { o.wait(); }", TIME, detail="wall", limits=_WALL),
    _row(
        "T8a",
        "",
        TIME,
        members="static { int i = 0; while (i >= 0) { i = 1; } }",
        detail="cpu",
        limits=_SHORT,
    ),
    _row(
        "T8b",
        f"try {{ throw new Error(); }} catch (Throwable t) {{ {_SPIN} }}",
        TIME,
        detail="cpu",
        limits=_SHORT,
    ),
    _row(
        "T9",
        "while (true) { System.out.println(1); Thread.sleep(100); }",
        TIME,
        detail="wall",
        limits=_WALL,
        check=lambda run: run.stdout.startswith(b"1\n1\n"),
    ),
    _row("T10a", '"a".repeat(60).matches("(a+)+\\\\1b");', TIME, detail="cpu", limits=_SHORT),
    _row("T10b", 'var n = new java.math.BigInteger("3").pow(1 << 30); ', TIME, MEMORY, FAILED, limits=_SHORT),
    _row(
        "T11",
        "var l = new ArrayList<byte[]>(); try { while (true) l.add(new byte[1000]); } catch (OutOfMemoryError e) { l.subList(0, 100).clear(); for (;;) { l.remove(0); l.add(new byte[1000]); } }",
        TIME,
        MEMORY,
        limits={"cpu_s": 3.0},
        slow=True,
    ),
    _row("T12a", "Thread.sleep(4750);", OK, limits={"wall_s": 5.0}, slow=True),
    _row("T12b", "Thread.sleep(5250);", TIME, detail="wall", limits={"wall_s": 5.0}, slow=True),
    _row(
        "T12c",
        "var b = java.lang.management.ManagementFactory.getThreadMXBean(); while (b.getCurrentThreadCpuTime() < 1_700_000_000L) { }",
        OK,
        limits={"cpu_s": 2.0},
        slow=True,
    ),
    _row(
        "T12d",
        "var b = java.lang.management.ManagementFactory.getThreadMXBean(); while (b.getCurrentThreadCpuTime() < 2_100_000_000L) { }",
        TIME,
        detail="cpu",
        limits={"cpu_s": 2.0},
        slow=True,
    ),
    _row("T14", 'new ProcessBuilder("/bin/sh", "-c", "while :; do :; done").start();', FAILED),
)

_FRESH_CLASSES = (
    'byte[] code = M.class.getResourceAsStream("M.class").readAllBytes(); var all = new ArrayList<Object>();'
    " while (true) all.add(new ClassLoader() { Class<?> make() { return defineClass(null, code, 0, code.length); } }.make());"
)

_MAPPED = """
    java.lang.reflect.Method map = null;
    for (String name : new String[] {"sun.nio.ch.FileChannelImpl", "sun.nio.ch.UnixFileDispatcherImpl"})
        try {
            for (var m : Class.forName(name).getDeclaredMethods()) if (m.getName().equals("map0")) map = m;
        } catch (ClassNotFoundException e) { }
    UNSAFE unsafe.putBoolean(map, 12L, true); // as setAccessible would
    var places = new TreeSet<String>();
    for (File device : new File("/dev").listFiles()) if (!device.isDirectory()) places.add(device.getPath());
    places.add("/tmp/file");
    new RandomAccessFile("/tmp/file", "rw").setLength(1 << 20);
    for (String place : places) try {
        var file = new RandomAccessFile(place, "rw");
        if (java.lang.reflect.Modifier.isStatic(map.getModifiers())) map.invoke(null, file.getFD(), 1, 0L, 1L << 20, false);
        else map.invoke(file.getChannel(), 1, 0L, 1L << 20, false);
        System.out.print(place);
    } catch (Exception e) { }
""".replace("UNSAFE", UNSAFE)
"""Memory shared with a device is nobody's to the kernel: only files, whose file systems have sizes, can be mapped."""

_POOLS = """
    var pools = new TreeMap<String, Long>();
    for (var pool : java.lang.management.ManagementFactory.getMemoryPoolMXBeans())
        if (pool.getName().matches("CodeCache|Metaspace|Compressed Class Space"))
            pools.put(pool.getName(), pool.getUsage().getMax() >> 20);
    pools.forEach((name, most) -> System.out.println(name + " " + most));
"""

MEMORY_ROWS = (
    _row(
        "M1",
        "var all = new ArrayList<byte[]>(); while (true) all.add(new byte[1 << 20]);",
        MEMORY,
        detail="heap",
        limits={"cpu_s": 4.0},
    ),
    _row("M2a", "int[] much = new int[1_000_000_000];", MEMORY, detail="heap"),
    _row("M2b", "byte[] much = new byte[Integer.MAX_VALUE];", MEMORY, detail="heap"),
    _row(
        "M3",
        "var all = new ArrayList<Object>(); while (true) all.add(ByteBuffer.allocateDirect(1 << 20));",
        MEMORY,
        detail="direct",
    ),
    _row(
        "M4",
        UNSAFE + "while (true) unsafe.setMemory(unsafe.allocateMemory(1 << 20), 1 << 20, (byte) 1);",
        MEMORY,
        detail="native",
        limits={"cpu_s": 4.0},
    ),
    _row(
        "M5",
        _FRESH_CLASSES,
        MEMORY,
        detail="metaspace",
        limits={"cpu_s": 5.0, "memory_bytes": 64 * MIB},
        slow=True,
    ),
    _row(
        "M6",
        _SLEEPER + 'for (int i = 0; i < 10000; i++) new Thread(null, wait, "t", 1 << 24).start();',
        MEMORY,
        limits={"cpu_s": 4.0},
    ),
    _row(
        "M8a",
        "again(1);",
        FAILED,
        members="static int again(int n) { return again(n + 1) + 1; }",
        check=lambda run: b"StackOverflowError" in run.stderr,
    ),
    _row(
        "M8b",
        'new Thread(null, () -> again(1), "deep", 1L << 30).start();',
        MEMORY,
        FAILED,
        SIGNALLED,
        OK,
        members="static int again(int n) { return again(n + 1) + 1; }",
        limits={"cpu_s": 4.0},
        slow=True,
    ),
    _row(
        "M9",
        'var c = java.nio.channels.FileChannel.open(Path.of("/tmp/big"), StandardOpenOption.CREATE, StandardOpenOption.READ, StandardOpenOption.WRITE); var m = c.map(java.nio.channels.FileChannel.MapMode.READ_WRITE, 0, 1 << 30); for (int i = 0; i < 1 << 30; i += 4096) m.put(i, (byte) 1);',
        FAILED,
        MEMORY,
        SIGNALLED,
        limits={"cpu_s": 4.0},
    ),
    _row(
        "M9b",
        _MAPPED,
        OK,
        check=_says(b"/tmp/file"),
    ),
    _row(
        "M10a",
        'for (String d : new String[] {"/tmp/", "/dev/shm/"}) try { for (int n = 0; ; n++) Files.write(Path.of(d + n), new byte[1 << 20]); } catch (IOException e) { System.out.print(e.getMessage().contains("No space") + " "); }',
        OK,
        limits={"tmp_bytes": 8 * MIB, "cpu_s": 4.0},
        check=_says(b"true true "),
    ),
    _row(
        "M10b",
        'for (String d : new String[] {"/tmp", "/dev/shm"}) System.out.print(new File(d).getUsableSpace() + " ");',
        OK,
        limits={"tmp_bytes": 8 * MIB},
        check=lambda run: run.stdout == b"%d %d " % (8 * MIB, SHM_BYTES),
    ),
    _row(
        "M11",
        "var all = new ArrayList<byte[]>(); while (true) try { all.add(new byte[1 << 24]); } catch (OutOfMemoryError e) { }",
        TIME,
        MEMORY,
        limits=_SHORT,
    ),
    _row("M12", 'System.err.println("java.lang.OutOfMemoryError: Java heap space"); System.exit(1);', FAILED),
    _row("M13", "System.out.print(Runtime.getRuntime().maxMemory() > 0);", OK, limits={"memory_bytes": 1}),
    _row(
        "M15",
        "byte[][] all = new byte[150][]; for (int i = 0; i < 150; i++) { all[i] = new byte[1 << 20]; Arrays.fill(all[i], (byte) 1); } System.out.print(all[149][7]); Thread.sleep(150);",
        OK,
        limits={"cpu_s": 4.0},  # it holds them until a watchdog's look is sure to have seen them
        check=lambda run: 150 * MIB < run.peak_memory_bytes < 320 * MIB,
    ),
    _row("M17a", 'String s = "x".repeat(1 << 30);', MEMORY, detail="heap"),
    *(
        _row(
            f"M17{letter}",
            _POOLS,
            OK,
            limits={"memory_bytes": memory * MIB},
            check=_says(f"CodeCache {part}\nCompressed Class Space {part}\nMetaspace {part}\n".encode()),
        )
        for letter, memory, part in (("c", 48, 16), ("d", 256, 32))
    ),
    _row(
        "M17b",
        'for (long n = 0; ; n++) all.add(("text" + n).intern());',
        MEMORY,
        TIME,
        members="static final List<String> all = new ArrayList<>();",
        limits={"cpu_s": 4.0},
        slow=True,
    ),
)

_TO_ITSELF = """
    UNSAFE var may = Class.forName("sun.tools.attach.HotSpotVirtualMachine").getDeclaredField("ALLOW_ATTACH_SELF");
    System.setProperty("sun.tools.attach.attachTimeout", "500");
    unsafe.ensureClassInitialized(may.getDeclaringClass());
    unsafe.putBoolean(unsafe.staticFieldBase(may), unsafe.staticFieldOffset(may), true);
    com.sun.tools.attach.VirtualMachine.attach("1");
""".replace("UNSAFE", UNSAFE)
"""The JDK's own refusal to attach to the machine that asks, taken out of the way."""

PROCESS_ROWS = (
    _row("P1a", 'new ProcessBuilder("/bin/sh").start();', FAILED),
    _row(
        "P1b",
        'new ProcessBuilder(System.getProperty("java.home") + "/bin/java", "-version").start();',
        FAILED,
    ),
    _row(
        "P1c",
        'System.setProperty("jdk.lang.Process.launchMechanism", "VFORK"); new ProcessBuilder(System.getProperty("java.home") + "/bin/java", "-version").start();',
        FAILED,
    ),
    _row(
        "P2b",
        _SLEEPER
        + 'int made = 0; try { while (made < 9999) { Thread t = new Thread(null, wait, "t", 1 << 16); t.setDaemon(true); t.start(); made++; } } catch (OutOfMemoryError e) { } System.out.print(made);',
        OK,
        check=lambda run: (made := re.search(rb"(?m)^(\d+)", run.stdout)) is not None and int(made[1]) <= 80,
        limits={"cpu_s": 4.0},
    ),
    _row(
        "P2",
        "bomb();",
        MEMORY,
        TIME,
        FAILED,
        members="static void bomb() { while (true) new Thread(M::bomb).start(); }",
        limits={"cpu_s": 2.0},
    ),
    _row(
        "P6",
        'System.out.print(ProcessHandle.allProcesses().filter(h -> !h.equals(ProcessHandle.current())).count() + " " + ProcessHandle.current().parent().isPresent());',
        OK,
        check=_says(b"0 false"),
    ),
    _row("P7a", "System.exit(139);", FAILED, check=lambda run: run.exit_code == 139),
    _row("P7b", "System.exit(143);", FAILED, check=lambda run: run.exit_code == 143),
    _row("P7c", "Runtime.getRuntime().halt(143);", FAILED, check=lambda run: run.exit_code == 143),
    _row(
        "P7d",
        "Runtime.getRuntime().halt(137);",
        SIGNALLED,  # docs/sandbox.md: of all that ends a program, `halt` alone can look like a signal
        check=lambda run: run.signal == signal.SIGKILL,
    ),
    _row("P7e", "System.exit(137);", FAILED, check=lambda run: run.exit_code == 137),
    _row("P8", UNSAFE + "unsafe.putInt(0L, 1);", SIGNALLED, check=lambda run: run.exit_code is None),
    _row(
        "P9",
        _TO_ITSELF,
        FAILED,
        check=lambda run: run.message.startswith("com.sun.tools.attach.AttachNotSupportedException"),
    ),
    _row(
        "P11",
        f'sun.misc.Signal.handle(new sun.misc.Signal("TERM"), s -> {{ }}); {_SLEEP}',
        TIME,
        detail="wall",
        limits=_WALL,
    ),
)

_FLOOD: dict[str, Any] = {"output_bytes": 10_000, "cpu_s": 4.0}

OUTPUT_ROWS = (
    _row(
        "O1",
        "while (true) System.out.println(1234567);",
        OUTPUT,
        detail="stdout",
        limits=_FLOOD,
        check=lambda run: run.stdout == b"1234567\n" * 1250 and run.stdout_truncated,
    ),
    _row(
        "O2a",
        "while (true) System.err.println(1234567);",
        OUTPUT,
        detail="stderr",
        limits=_FLOOD,
        check=lambda run: run.stderr == b"1234567\n" * 1250,
    ),
    _row(
        "O2b",
        "for (var s : new PrintStream[] {System.out, System.err}) new Thread(() -> { while (true) s.println(1234567); }).start();",
        OUTPUT,
        limits=_FLOOD,
    ),
    _row(
        "O3",
        "byte[] much = new byte[1 << 26]; for (int i = 0; i < 16; i++) System.out.write(much);",
        OUTPUT,
        detail="stdout",
        check=lambda run: len(run.stdout) == MIB,
    ),
    _row(
        "O5",
        'System.out.print("x" + "\\u00e9".repeat(10000));',
        OUTPUT,
        limits={"output_bytes": 100},
        check=lambda run: run.stdout == ("x" + "é" * 50).encode()[:100],
    ),
    _row("O7", 'System.out.print("y".repeat(131070));', OK, check=lambda run: len(run.stdout) == 131070),
    _row(
        "O8a",
        UNSAFE
        + 'var d = new FileDescriptor(); unsafe.putInt(d, unsafe.objectFieldOffset(FileDescriptor.class.getDeclaredField("fd")), 4); new FileOutputStream(d).write(new byte[] {\'D\', 0, 0, 0, 16, 0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0}); throw new IllegalStateException("mine");',
        FAILED,
        check=lambda run: run.value is None,
    ),
    _row(
        "O8b",
        "System.out.write(new byte[] {'V', 0, 0, 0, 1, 65}); System.out.print(\"\\u001b[2J\"); throw new Error();",
        FAILED,
        check=lambda run: run.value is None and run.stdout == b"V\x00\x00\x00\x01A\x1b[2J",
    ),
    _row("O9", "System.out.close(); System.out.println(1); System.err.close(); System.in.close();", OK),
    _row(
        "O10",
        'System.setOut(new PrintStream(new BufferedOutputStream(System.out))); System.out.print("lost"); Runtime.getRuntime().halt(0);',
        OK,
        check=_says(b""),
    ),
    _row("O11", _BEGIN + _SLEEP, TIME, limits=_WALL, check=_begun),
    _row(
        "O12",
        "for (int i = 0; i < 500; i++) { System.out.println(i); System.err.println(i); }",
        OK,
        check=lambda run: run.stdout == run.stderr == b"".join(b"%d\n" % n for n in range(500)),
    ),
)


def _denied(row: str, body: str, **more: Any) -> Row:
    return _row(
        row, body, FAILED, check=lambda run: run.exit_code == 1 and b"Exception" in run.stderr, **more
    )


FILE_ROWS = (
    _denied("F1a", 'Files.writeString(Path.of("/mark"), "x");'),
    _denied("F1b", 'Files.writeString(Path.of(System.getProperty("java.home"), "mark"), "x");'),
    _denied("F1c", 'Files.newOutputStream(Path.of("/run/harness.jar"));'),
    _denied("F1d", 'Files.newOutputStream(Path.of("/run/harness.jsa"));'),
    _row(
        "F2a",
        'for (String d : new String[] {"/tmp", "/dev/shm", "/app"}) Files.writeString(Path.of(d, "mark"), "x"); java.util.prefs.Preferences.userRoot().put("mark", "x");',
        OK,
    ),
    _row(
        "F2b",
        'for (String d : new String[] {"/tmp", "/dev/shm", "/app"}) System.out.print(Files.exists(Path.of(d, "mark"))); System.out.print(java.util.prefs.Preferences.userRoot().get("mark", "none"));',
        OK,
        check=_says(b"falsefalsefalsenone"),
    ),
    _row(
        "F6a",
        'for (int n = 0; n < 20_000; n++) new File("/tmp/" + n).createNewFile();',
        OK,
        FAILED,
        TIME,
        limits={"cpu_s": 4.0},
    ),
    _row(
        "F6b",
        'File f = new File("/tmp"); for (int n = 0; n < 500; n++) { f = new File(f, "d"); f.mkdir(); } Files.createDirectory(Path.of("/tmp/" + "n".repeat(255))); new RandomAccessFile("/tmp/sparse", "rw").setLength(1L << 50);',
        FAILED,
        OK,
    ),
    *(
        _row(
            f"F6{letter}",
            f'for (int n = 0; ; n++) new File("{place}/" + n + "-".repeat(200)).createNewFile();',
            MEMORY,
            detail="native",
            limits={"cpu_s": 20.0, "wall_s": 60.0, "memory_bytes": 32 * MIB, "tmp_bytes": MIB},
        )
        for letter, place in (("c", "/tmp"), ("d", "/dev/shm"), ("e", "/app"))  # noqa: S108  (inside)
    ),
    _row(
        "F6f",
        'var all = new ArrayList<Object>(); try { while (true) all.add(new FileInputStream("/dev/null")); } catch (IOException e) { System.out.print(all.size() + e.getMessage()); }',
        OK,
        check=lambda run: (
            (told := re.fullmatch(rb"(\d+)/dev/null \(Too many open files\)", run.stdout)) is not None
            and 480 < int(told[1]) < 512
        ),
    ),
    _row(
        "F6g",
        'var f = new RandomAccessFile("/tmp/sparse", "rw"); f.setLength(64L << 20); System.out.print(f.length()); try { f.setLength((64L << 20) + 1); } catch (IOException e) { System.out.print(e.getMessage()); } f.seek(64L << 20); f.write(1);',
        FAILED,
        limits={"tmp_bytes": 8 * MIB},
        check=lambda run: (
            run.stdout == b"%dFile too large" % (64 * MIB)
            and run.message == "java.io.IOException: File too large"
        ),
    ),
    _denied("F8a", 'Files.readString(Path.of("/etc/passwd"));'),
    _denied("F8b", 'Files.readString(Path.of("/proc/1/environ"));'),
    _row(
        "F8c",
        "System.out.print(System.getenv().keySet());",
        OK,
        check=lambda run: b"PATH" not in run.stdout and b"HOME" not in run.stdout,
    ),
    _row(
        "F9",
        'System.out.print(Arrays.toString(new File("/proc").list()) + new File("/proc/meminfo").exists());',
        OK,
        check=_says(b"[self]false"),
    ),
    _row(
        "F11",
        'for (int n = 0; ; n++) Files.write(Path.of("/tmp/" + n), new byte[1 << 20]);',
        FAILED,
        limits={"tmp_bytes": 8 * MIB},
        check=lambda run: "No space left" in run.message,
    ),
    _denied("F13a", 'Files.list(Path.of("/home"));'),
    _row(
        "F13b",
        'System.out.print(new TreeSet<>(Arrays.asList(new File("/app/..").list())));',
        OK,
        check=lambda run: (
            not {b"home", b"root", b"var", b"srv", b"mnt", b"opt"}
            & set(run.stdout.strip(b"[]").split(b", ")) - {b"opt"}
        ),
    ),
    _denied(
        "F14",
        'Path p = Path.of("/tmp/x"); Files.write(p, "#!/bin/sh\\n".getBytes()); p.toFile().setExecutable(true); new ProcessBuilder("/tmp/x").start();',
    ),
)

NETWORK_ROWS = (
    _denied("N1a", 'InetAddress.getByName("example.org");'),
    _denied("N1b", 'new Socket("192.0.2.1", 80);'),
    _denied("N1c", 'new Socket("2001:db8::1", 80);'),
    _denied(
        "N1d",
        "var s = new DatagramSocket(); s.send(new DatagramPacket(new byte[1], 1, InetAddress.getByAddress(new byte[] {(byte) 192, 0, 2, 1}), 53));",
    ),
    _row(
        "N2",
        'int open = 0; for (int p = 1; p < 20000; p++) try (var s = new Socket("127.0.0.1", p)) { open++; } catch (IOException e) { } try (var s = new Socket("169.254.169.254", 80)) { open++; } catch (IOException e) { } System.out.print(open);',
        OK,
        check=_says(b"0"),
        limits={"cpu_s": 5.0},
        slow=True,
    ),
    _row(
        "N3",
        "try (var server = new ServerSocket(8888, 1, InetAddress.getLoopbackAddress()); var s = new Socket(InetAddress.getLoopbackAddress(), 8888); var t = server.accept()) { s.getOutputStream().write(7); System.out.print(t.getInputStream().read()); }",
        FAILED,
        check=lambda run: run.message.startswith("java.net.SocketException: Address family not supported"),
    ),
    _row(
        "N3b",
        'for (Callable c : new Callable[] {() -> new DatagramSocket(), () -> java.nio.channels.ServerSocketChannel.open(), () -> java.nio.channels.SocketChannel.open(StandardProtocolFamily.UNIX), () -> java.nio.channels.AsynchronousSocketChannel.open()}) try { c.call(); System.out.print("open"); } catch (SocketException e) { } var p = java.nio.channels.Pipe.open(); p.sink().write(ByteBuffer.allocate(3)); System.out.print(p.source().read(ByteBuffer.allocate(9)));',
        OK,
        members="interface Callable { Object call() throws Exception; }",
        check=_says(b"3"),
    ),
    _denied("N4", 'java.nio.channels.SocketChannel.open(UnixDomainSocketAddress.of("/run/docker.sock"));'),
)

_FORGER = """
    var launcher = Class.forName("javacluster.internal.Launcher");
    var found = new ArrayList<byte[]>();
    for (var f : launcher.getDeclaredFields()) {
        if (!java.lang.reflect.Modifier.isStatic(f.getModifiers())) continue;
        f.setAccessible(true);
        if (f.get(null) instanceof byte[] b && b.length == 16) found.add(b);
        if (f.getType() == long.class) System.out.print("a number");
    }
    var hooks = Class.forName("java.lang.ApplicationShutdownHooks").getDeclaredField("hooks");
    UNSAFE
    var all = (Map<Thread, Thread>) unsafe.getObject(unsafe.staticFieldBase(hooks), unsafe.staticFieldOffset(hooks));
    for (var hook : all.keySet()) for (var f : hook.getClass().getDeclaredFields()) {
        f.setAccessible(true);
        if (f.get(hook) instanceof byte[] b) found.add(b);
    }
    var write = launcher.getDeclaredMethod("write", int.class, byte[].class);
    write.setAccessible(true);
    for (byte[] b : found) write.invoke(null, (int) 'V', Arrays.copyOf(b, 17));
    Thread.sleep(10_000);
""".replace("UNSAFE", UNSAFE)
"""All that reflection and Unsafe find by way of objects vouches for no value: it ends the run."""

_MARK = """static class Mark extends java.security.Provider { Mark() { super("Mark", "1", ""); } }
    static final ThreadLocal<String> OWN = new ThreadLocal<>(); static String kept = "new";
"""
_MARKS = """
    System.out.println(System.getProperty("mark") + "|" + Locale.getDefault() + "|" + TimeZone.getDefault().getID());
    System.out.println(Thread.getDefaultUncaughtExceptionHandler() + "|" + OWN.get() + "|" + kept);
    System.out.println(java.security.Security.getProvider("Mark") + "|" + java.net.Authenticator.getDefault());
    var log = java.util.logging.LogManager.getLogManager().getLogger("");
    System.out.println(log.getHandlers().length + "|" + log.getLevel() + "|" + java.net.CookieHandler.getDefault());
    System.out.println(java.util.concurrent.ForkJoinPool.commonPool().getPoolSize() + "|" + Thread.activeCount());
    System.out.println(java.lang.management.ManagementFactory.getPlatformMBeanServer().getDefaultDomain());
    System.out.println(System.in.read() + "|" + Thread.currentThread().getPriority() + "|" + Thread.interrupted());
    System.setProperty("mark", "x"); Locale.setDefault(Locale.JAPAN); TimeZone.setDefault(TimeZone.getTimeZone("JST"));
    Thread.setDefaultUncaughtExceptionHandler((t, e) -> { }); OWN.set("x"); kept = "x";
    java.security.Security.addProvider(new Mark()); java.net.CookieHandler.setDefault(new CookieManager());
    java.net.Authenticator.setDefault(new java.net.Authenticator() { });
    log.addHandler(new java.util.logging.ConsoleHandler()); log.setLevel(java.util.logging.Level.ALL);
    URL.setURLStreamHandlerFactory(name -> null); // only once in a machine's life, or it is an Error
    java.util.concurrent.ForkJoinPool.commonPool().submit(() -> { }).get();
    Thread.currentThread().setPriority(7); Thread.currentThread().interrupt();
    System.setIn(new ByteArrayInputStream(new byte[] {7})); System.setOut(System.err);
"""
"""Looks for what a program could leave behind in its machine, and then leaves it."""

_UNMARKED = b"""null||UTC
null|null|new
null|null
1|INFO|null
0|1
DefaultDomain
-1|5|false
"""

_EVERY_SCRIPT = "grüezi 😀 שלום 名"

JAVA_ROWS = (
    *(_row(f"J1{letter}", _MARKS, OK, members=_MARK, check=_says(_UNMARKED)) for letter in "ab"),
    _row("J2a", "", FAILED, members="static { System.exit(5); }", check=lambda run: run.exit_code == 5),
    _row(
        "J2b",
        "new Thread(() -> System.exit(6)).start(); Thread.sleep(9000);",
        FAILED,
        check=lambda run: run.exit_code == 6,
    ),
    _row(
        "J2c",
        "Runtime.getRuntime().addShutdownHook(new Thread(() -> Runtime.getRuntime().halt(8)));",
        FAILED,
        check=lambda run: run.exit_code == 8,
    ),
    _row(
        "J6",
        _FORGER,
        FAILED,
        check=lambda run: run.value is None and run.stdout == b"",
    ),
    _row(
        "J7a",
        "System.out.print(new Scanner(System.in).nextInt());",
        OK,
        given=Input(stdin=b"42\n"),
        check=_says(b"42"),
    ),
    _row("J7b", "System.in.close();", OK, given=Input(stdin=b"x" * MIB)),
    _row(
        "J7c",
        'System.out.print(System.in.readAllBytes().length + " " + System.console());',
        OK,
        given=Input(stdin=b"x" * MIB),
        check=_says(b"1048576 null"),
    ),
    _row(
        "J8",  # what a program wrote may be mapped, and gains nothing: namespaces and filter hold for it too
        'Files.copy(Path.of(System.getProperty("java.home"), "lib", "libprefs.so"), Path.of("/tmp/x.so")); System.load("/tmp/x.so"); System.out.print("loaded"); new ServerSocket(0);',
        FAILED,
        check=lambda run: (
            run.stdout == b"loaded"
            and run.message.startswith("java.net.SocketException: Address family not supported")
        ),
    ),
    _row(
        "J9",
        'System.out.print(Runtime.getRuntime().availableProcessors() + " " + (Runtime.getRuntime().maxMemory() >> 20));',
        OK,
        check=lambda run: run.stdout.split() == [b"1", b"192"],
    ),
    _row(
        "J9b",
        "System.out.print(Runtime.getRuntime().maxMemory() >> 20);",
        OK,
        limits={"memory_bytes": 200 * MIB},
        check=lambda run: run.stdout == b"148",
    ),
    _row(
        "J10",
        f'String s = "{_EVERY_SCRIPT}"; System.out.print(s + s.getBytes().length + new Date(0) + String.format("%,.2f", 1234.5) + System.getenv("COLUMNS") + System.getenv("LINES")); System.err.print(s);',
        OK,
        check=lambda run: (
            run.stderr == _EVERY_SCRIPT.encode()
            and run.stdout
            == f"{_EVERY_SCRIPT}{len(_EVERY_SCRIPT.encode())}Thu Jan 01 00:00:00 UTC 1970"
            "1,234.50nullnull".encode()
        ),
    ),
    _row(
        "J11",
        "new javax.swing.JFrame();",
        FAILED,
        check=lambda run: b"HeadlessException" in run.stderr or b"Error" in run.stderr,
    ),
    _row("J12", "assert false;", OK),
    _row(
        "J13",
        "System.out.print(java.util.stream.LongStream.range(0, 1000000).parallel().map(n -> n * n).sum());",
        OK,
        check=_says(b"333332833333500000"),
    ),
)

ROWS = (*TIME_ROWS, *MEMORY_ROWS, *PROCESS_ROWS, *OUTPUT_ROWS, *FILE_ROWS, *NETWORK_ROWS, *JAVA_ROWS)

_NO_PROCESS = "no process can be made: P1 shows that exec and fork are refused"
_SECCOMP = "needs code of its own that is no Java: unit/java/test_seccomp.py runs the filter itself"

_PROGRAMS, _SOURCES = "hostile/test_programs.py", "hostile/test_sources.py"
_REQUESTS, _FILTER = "unit/gateway/test_programs.py", "unit/java/test_seccomp.py"

ELSEWHERE = {
    "T13": f"{_REQUESTS}::test_a_bad_limit_is_refused_by_its_path",
    "M16": "hostile/test_catalogue.py::test_one_program_out_of_memory_disturbs_no_other",
    "P9": f"{_PROGRAMS}::test_no_program_reaches_another_machine",
    "P13": f"{_FILTER}::test_what_no_virtual_machine_needs_is_refused",
    "P14": f"{_FILTER}::test_what_no_virtual_machine_needs_is_refused",
    "O4": f"{_PROGRAMS}::test_output_is_cut_exactly_at_its_limit",
    "O6": f"{_PROGRAMS}::test_every_byte_survives",
    "O13": "unit/gateway/test_events.py::test_a_reader_that_does_not_read_costs_nothing_and_stalls_nobody",
    "F7": f"{_REQUESTS}::test_what_breaks_the_schema_is_422_with_its_place",
    "F10": f"{_PROGRAMS}::test_no_program_hears_anothers_lock",
    "N5": f"{_FILTER}::test_what_no_virtual_machine_needs_is_refused",
    "N6": f"{_FILTER}::test_what_no_virtual_machine_needs_is_refused",
    "N7": f"{_REQUESTS}::test_what_breaks_the_schema_is_422_with_its_place",
    "C1": f"{_SOURCES}::test_a_wrong_source_is_told_where",
    "C2": f"{_SOURCES}::test_errors_without_number_are_cut",
    "C3": f"{_SOURCES}::test_a_source_that_exhausts_the_compiler_ends_soon_and_the_compiler_goes_on",
    "C4": f"{_REQUESTS}::test_what_is_no_such_json_has_its_status",
    "C5": f"{_SOURCES}::test_no_source_runs_anything_in_the_compiler",
    "C6": f"{_SOURCES}::test_names_are_names_and_nothing_else",
    "C7": "unit/java/test_entry.py::test_the_entry_point_follows_the_rules",
    "C8": f"{_SOURCES}::test_classes_that_differ_in_case_or_nest_stay_apart",
    "C9": f"{_SOURCES}::test_preview_features_are_off_and_warnings_are_no_errors",
    "C10": f"{_SOURCES}::test_a_thousand_sources_leave_the_compiler_as_it_was",
    "C11": f"{_SOURCES}::test_preview_features_are_off_and_warnings_are_no_errors",
    "C12": "unit/java/test_compiler.py::test_a_source_that_ends_two_compilers_is_to_blame",
    "C13": f"{_SOURCES}::test_a_source_sees_no_file_of_the_host_and_no_class_of_another",
    "C14": f"{_SOURCES}::test_the_same_source_again_and_again_at_once_is_right_each_time",
    "J3": f"{_PROGRAMS}::test_a_stack_trace_is_that_of_plain_java",
    "J4": f"{_PROGRAMS}::test_a_program_sees_itself_as_in_plain_java",
    "J5": f"{_SOURCES}::test_names_are_names_and_nothing_else",
    "J14": "hostile/test_start.py::test_a_jdk_that_is_updated_under_a_running_node_runs_programs",
}
"""The test that shows a row, below `tests/`."""

NOT_HERE = {
    "M7": "virtual threads came with JDK 21; there they are heap and nothing else",
    "M14": _NO_PROCESS,
    "P3": _NO_PROCESS,
    "P4": _NO_PROCESS,
    "P5": _NO_PROCESS,
    "P10": _SECCOMP,
    "P12": _NO_PROCESS,
    "F3": "the host takes no path from a program: classes, input and output travel by pipes (J3)",
    "F4": "the host takes no path from a program: classes, input and output travel by pipes (J3)",
    "F5": "a program writes to its own copy of its classes; the kept ones are the node's memory",
    "F12": _NO_PROCESS,
}
