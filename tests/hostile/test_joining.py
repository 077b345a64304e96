"""Joined strings (`a + b`) are linked by our own class on JDK 17: no program may be able to tell (P4).

The same generated program runs in plain `java` and in the engine, and all that it can find out is compared:
text, the order in which parts are asked for theirs, identity, what is thrown, and each frame of that.
"""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

from tests.support.java_driver import JavaDriver, main_class

VALUES = {
    "boolean": ["true", "false"],
    "byte": ["(byte) -128", "(byte) 7"],
    "char": ["'c'", "'\\u044f'"],
    "short": ["(short) -32768", "(short) 12"],
    "int": ["Integer.MIN_VALUE", "0", "42"],
    "long": ["Long.MIN_VALUE", "-1L", "1L << 40"],
    "float": ["1.5f", "Float.NaN", "-0f"],
    "double": ["1e300", "-0.0", "0.1"],
    "String": ['"latin"', '"\\u0436\\ud83d\\ude00"', '""', "null"],
    "Object": ["told", "empty", "null", "failing"],
    "M": ["null", "null"],
    "int[]": ["null", "null"],
}
CONSTANTS = ["", "", "k", "\\u0436", " - ", "\\1\\2", "\\0"]
EXPRESSIONS = 400
SEED = 17

MEMBERS = """
    static StringBuilder asked = new StringBuilder();
    static Object told = new Object() { public String toString() { asked.append('t'); return "told"; } };
    static Object empty = new Object() { public String toString() { asked.append('e'); return null; } };
    static Object failing = new Object() {
        public String toString() { asked.append('f'); throw new IllegalStateException("no text"); }
    };
    static Object point(Object value, char mark) { asked.append(mark); return value; }
    static String failure(Throwable thrown) {
        StringWriter text = new StringWriter();
        thrown.printStackTrace(new PrintWriter(text));
        return text.toString();
    }
    static String huge(String s) { return HUGE; }
""".replace("HUGE", " + ".join(["s"] * 129))

DIRECTLY = """
        var lookup = MethodHandles.lookup();
        for (Class<?> kind : List.of(int.class, boolean.class, Object.class, M.class, float.class)) {
            for (int count : new int[] {0, 1, 2, 3, 200}) {
                MethodType type = MethodType.methodType(String.class, Collections.nCopies(count, kind));
                MethodHandle joined = StringConcatFactory.makeConcat(lookup, "any", type).dynamicInvoker();
                Object value = kind == boolean.class ? (Object) true : kind == int.class ? (Object) 7
                        : kind == float.class ? (Object) 1f : null;
                System.out.println(joined.invokeWithArguments(Collections.nCopies(count, value)));
                System.out.println(joined.type());
            }
        }
        MethodType two = MethodType.methodType(CharSequence.class, int.class, M.class);
        for (Object constant : new Object[] {"z".repeat(70_000), 12, 'c', ""}) {
            CallSite site =
                    StringConcatFactory.makeConcatWithConstants(lookup, "any", two, "\\1\\2\\1", constant);
            System.out.println(((CharSequence) site.getTarget().invokeExact(3, (M) null)).length());
        }
        for (int count : new int[] {2, 4}) {
            MethodType type = MethodType.methodType(String.class, Collections.nCopies(count, long.class));
            try {
                StringConcatFactory.makeConcatWithConstants(lookup, "any", type, "\\1-\\1x\\1");
                System.out.println("taken");
            } catch (StringConcatException refused) { System.out.println(failure(refused)); }
        }
        for (MethodType type : List.of(
                MethodType.methodType(int.class, int.class),
                MethodType.methodType(String.class, Collections.nCopies(201, int.class)),
                MethodType.methodType(String.class, Collections.nCopies(101, long.class)))) {
            try {
                StringConcatFactory.makeConcat(lookup, "any", type);
                System.out.println("taken");
            } catch (StringConcatException refused) { System.out.println(failure(refused)); }
        }
        String text = point("text", ' ').toString(), none = text.substring(4);
        String nul = (String) point(null, 'n');
        System.out.println(("" + text == text) + " " + (text + "" == text) + " " + (none + text == text)
                + " " + (text + none == text) + " " + (none + none == none) + " " + (nul + "").length());
        try {
            System.out.println(huge("x".repeat(1 << 24)));
        } catch (OutOfMemoryError error) { System.out.println(failure(error)); }
"""


def expression(rng: random.Random) -> str:
    """One try of a joining, with its values in variables, so that nothing is joined by the compiler."""
    kinds = [rng.choice(list(VALUES)) for _ in range(rng.choice([1, 1, 2, 2, 3, 3, 4, 5]))]
    names = [f"v{n}" for n in range(len(kinds))]
    declared = "".join(
        f"{kind} {name} = {rng.choice(VALUES[kind])}; " for kind, name in zip(kinds, names, strict=True)
    )
    parts = [f'"{rng.choice(CONSTANTS)}"']
    for name in names:
        used = f"point({name}, '{name[1]}')" if rng.random() < 0.1 else name
        parts += [used, f'"{rng.choice(CONSTANTS)}"']
    if parts[1] == names[0] and kinds[0] == "String" and rng.random() < 0.5:
        parts = parts[1:]
    return f"try {{ {declared}System.out.println({' + '.join(parts)}); }}"


def text() -> str:
    """The whole program."""
    rng = random.Random(SEED)
    methods, calls = [], []
    for start in range(0, EXPRESSIONS, 50):
        body = "\n".join(
            f"        {expression(rng)} catch (RuntimeException e) {{ System.out.println(failure(e)); }}\n"
            "        System.out.println(asked); asked.setLength(0);"
            for _ in range(50)
        )
        methods.append(f"    static void some{start}() {{\n{body}\n    }}\n")
        calls.append(f"some{start}();")
    imports = "import java.lang.invoke.*;\n"
    return imports + main_class("\n".join(calls) + DIRECTLY, MEMBERS + "\n".join(methods))


def test_a_joined_string_is_that_of_plain_java(java: JavaDriver, tmp_path: Path) -> None:
    """P4, J2: values, order, identity, exceptions and their frames."""
    program = text()
    (tmp_path / "M.java").write_text(program)
    subprocess.run(["javac", "M.java"], cwd=tmp_path, check=True)
    plain = subprocess.run(
        ["java", "-Xmx512m", "-cp", ".", "M"], cwd=tmp_path, capture_output=True, check=False
    )
    assert plain.returncode == 0, plain.stderr
    run = java.run(program)
    assert run.stdout == plain.stdout
    assert (run.exit_code, run.stderr) == (0, plain.stderr)


def test_a_second_joining_makes_one_class(java: JavaDriver) -> None:
    """J2: or the comparison above is of the JDK with itself. plain JDK 17 makes twenty here (decision 13)."""
    body = """
        var loading = java.lang.management.ManagementFactory.getClassLoadingMXBean();
        int n = args.length; long m = n;
        String first = "a" + n + "b" + m;
        long before = loading.getTotalLoadedClassCount();
        String second = m + "c" + n + "d" + first + n;
        System.out.print(loading.getTotalLoadedClassCount() - before);
    """
    run = java.run(main_class(body))
    assert int(run.stdout) <= 6, run
