"""Programs that resemble what people send: a new compiler compiles them before it counts as ready (J1)."""

from __future__ import annotations

from cluster.wire.jobs import Source

_HELLO = """public class Main {
    public static void main(String[] args) {
        System.out.println("Hello, " + (args.length > 0 ? args[0] : "world"));
    }
}
"""

_STREAMS = """import java.util.*;
import java.util.function.*;
import java.util.stream.*;

public class Report {
    record Sale(String city, int amount, double price) {}
    enum Size { SMALL, LARGE }
    sealed interface Shape permits Circle, Square {}
    record Circle(double r) implements Shape {}
    record Square(double a) implements Shape {}

    static double area(Shape shape) {
        if (shape instanceof Circle c) return Math.PI * c.r() * c.r();
        return shape instanceof Square s ? s.a() * s.a() : 0;
    }

    public String run() {
        List<Sale> sales = IntStream.range(0, 20)
                .mapToObj(i -> new Sale("c" + i % 3, i, i * 1.5)).collect(Collectors.toList());
        Map<String, Integer> byCity = sales.stream()
                .collect(Collectors.groupingBy(
                        Sale::city, TreeMap::new, Collectors.summingInt(Sale::amount)));
        Function<Integer, String> word = n -> switch (n % 3) {
            case 0 -> "none"; case 1 -> "one"; default -> "more";
        };
        StringBuilder text = new StringBuilder();
        for (Map.Entry<String, Integer> e : byCity.entrySet())
            text.append(String.format("%s=%d %s%n", e.getKey(), e.getValue(), word.apply(e.getValue())));
        Optional<Sale> best = sales.stream().max(Comparator.comparing(Sale::price).thenComparing(Sale::city));
        return text + best.map(Sale::toString).orElse("") + area(new Circle(2)) + Size.valueOf("LARGE");
    }
}
"""

_CLASSIC = """import java.io.*;
import java.util.*;
import java.util.concurrent.*;

abstract class Animal implements Comparable<Animal> {
    protected final String name;
    Animal(String name) { this.name = name; }
    abstract String sound();
    @Override public int compareTo(Animal other) { return name.compareTo(other.name); }
}

class Dog extends Animal {
    Dog(String name) { super(name); }
    @Override String sound() { return "woof"; }
}

public class Classic {
    private static final Map<Integer, Long> memo = new HashMap<>();
    static long fib(int n) { return n < 2 ? n : memo.computeIfAbsent(n, k -> 0L) + fib(n - 1) + fib(n - 2); }
    public static void main(String[] args) throws Exception {
        try (Scanner in = new Scanner(System.in);
                BufferedReader r = new BufferedReader(new StringReader("a"))) {
            int[][] grid = new int[3][4];
            while (in.hasNextInt()) grid[0][0] += in.nextInt();
            ExecutorService pool = Executors.newFixedThreadPool(2);
            Future<Long> answer = pool.submit(() -> fib(10));
            pool.shutdown();
            List<Animal> all = new ArrayList<>(List.of(new Dog("b"), new Dog("a")));
            Collections.sort(all);
            for (Animal a : all) System.out.printf("%s %s%n", a.name, a.sound());
            System.out.println(answer.get() + grid[0][0] + r.readLine());
        } catch (IOException | IllegalStateException e) {
            throw new RuntimeException("wrapped", e);
        } finally {
            System.err.println("done");
        }
    }
}
"""

PROGRAMS = (Source("", _HELLO), Source("", _STREAMS), Source("", _CLASSIC))
