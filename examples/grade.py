"""Grade one program against several inputs: one compilation, a line for each input.

python examples/grade.py http://127.0.0.1:8888
"""

from __future__ import annotations

import sys

from cluster.client import Client, LimitsAsked, Verdict, input_of

SUM = """
import java.util.Scanner;

public class Sum {
    public static void main(String[] args) {
        Scanner in = new Scanner(System.in);
        System.out.println(in.nextInt() + in.nextInt());
    }
}
"""

TESTS = (("1 2", "3"), ("-5 5", "0"), ("2147483647 1", "2147483648"), ("one two", "?"))


def main(gateway: str) -> None:
    """Run it, and say what became of each input."""
    result = Client(gateway).run(
        SUM, tests=[input_of(stdin) for stdin, _expected in TESTS], limits=LimitsAsked(cpu_s=2)
    )
    if result.verdict is Verdict.COMPILE_ERROR and result.compilation is not None:
        sys.exit(result.compilation.text)
    for (stdin, expected), run in zip(TESTS, result.runs, strict=False):
        right = run.verdict is Verdict.OK and run.stdout.strip() == expected
        said = run.stdout.strip() or run.message or run.verdict
        print(f"{'right' if right else 'wrong'}: {stdin} -> {said}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8888")
