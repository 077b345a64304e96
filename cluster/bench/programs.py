"""The programs that are measured, every one distinct, so that no cache answers.

Each is a class `P<tag>` with both contracts: `run()` for the cluster, and a `main` that prints the same for
the plain commands.
"""

from __future__ import annotations

import attrs

_PLAIN = "public static void main(String[] a) { System.out.println(new NAME().run()); }"

_HELLO = 'public class NAME { public String run() { return "hello TAG"; } PLAIN }'

_STREAMS = """import java.util.*;
import java.util.stream.*;
public class NAME {
    record Sale(String city, int amount) {}
    public String run() {
        List<Sale> sales = IntStream.range(0, 200).mapToObj(i -> new Sale("c" + i % 7, i)).toList();
        Map<String, Integer> sums = sales.stream().filter(s -> s.amount() % 2 == 0)
            .collect(Collectors.groupingBy(Sale::city, TreeMap::new, Collectors.summingInt(Sale::amount)));
        return sums.entrySet().stream().map(e -> e.getKey() + "=" + e.getValue())
            .collect(Collectors.joining(", ", "TAG: ", "."));
    }
    PLAIN
}
"""

_PRIMES = """public class NAME {
    public String run() {
        int found = 0;
        for (int n = 2; n < 400000; n++) {
            boolean prime = true;
            for (int d = 2; prime && d * d <= n; d++) prime = n % d != 0;
            if (prime) found++;
        }
        return found + " TAG";
    }
    PLAIN
}
"""

_WRONG = 'public class NAME { public String run() { int tag = "TAG"; return tag; } PLAIN }'

_ECHO = 'public class NAME { public static void main(String[] a) { System.out.println("TAG " + a[0]); } }'


@attrs.frozen
class Workload:
    """One kind of program.

    Attributes:
        compiles: whether it is a program at all.
        inputs: how often it runs after one compilation, with its number as argument.
        mark: what every right answer contains, with TAG for the tag.
    """

    name: str
    text: str
    mark: str
    compiles: bool = True
    inputs: int = 1

    def source(self, tag: str) -> str:
        """The text of one of them."""
        text = self.text.replace("PLAIN", _PLAIN)
        return text.replace("NAME", f"P{tag}").replace("TAG", tag)

    def expected(self, tag: str) -> str:
        """What a right answer to it contains."""
        return self.mark.replace("TAG", tag)


WORKLOADS = (
    Workload("hello", _HELLO, "hello TAG"),
    Workload("streams, lambdas, records", _STREAMS, "TAG: c0=1470, c1=1386"),
    Workload("primes to 400,000", _PRIMES, "33860 TAG"),
    Workload("a compile error", _WRONG, "incompatible types", compiles=False),
    Workload("ten tests, one compilation", _ECHO, "TAG 9", inputs=10),
)
