package javacluster.internal;

import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Scanner;
import java.util.TreeMap;
import java.util.function.Function;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/**
 * What a program's first line of each kind costs, paid while the machine is idle (J2).
 *
 * <p>Small steps, each asked for by itself, so that a program that arrives waits for one of them at most. They
 * touch no state that a program could see: no output, no property, no thread, no random number.
 */
final class Rehearsal {
    private Rehearsal() {}

    /** Perform one step; past the last there is nothing left to do. */
    static void perform(int step) throws Exception {
        switch (step) {
            case 0 -> text();
            case 1 -> lambdas();
            case 2 -> streams();
            case 3 -> formats();
            default -> { }
        }
    }

    private static void text() throws Exception {
        try (PrintStream out = new PrintStream(new ByteArrayOutputStream(), true, StandardCharsets.UTF_8)) {
            String name = out.toString();
            int number = name.length();
            out.println("x = " + number);
            out.println(name + number);
            out.println(name + " " + number + ", " + 0.5 + '.');
        }
        System.out.flush();
        System.err.flush();
    }

    private static void lambdas() {
        List<Integer> numbers = new ArrayList<>(List.of(3, 1, 2));
        Map<String, Integer> counts = new HashMap<>();
        Function<Integer, String> word = n -> "n" + n;
        numbers.forEach(n -> counts.merge(word.apply(n), 1, Integer::sum));
        numbers.sort(Comparator.comparing(word).thenComparing(Comparator.naturalOrder()));
        Collections.reverse(numbers);
        Runnable nothing = counts::clear;
        nothing.run();
    }

    private static void streams() {
        record Pair(String name, int number) {}
        List<Pair> pairs = IntStream.range(0, 8).mapToObj(i -> new Pair("n" + i, i)).toList();
        Map<Integer, Integer> sums = pairs.stream()
                .filter(p -> p.number() > 1)
                .collect(Collectors.groupingBy(
                        p -> p.number() % 2, TreeMap::new, Collectors.summingInt(Pair::number)));
        String text = pairs.stream().map(Pair::toString).sorted().collect(Collectors.joining(", "));
        int sum = Arrays.stream(new int[] {1, 2}).map(i -> i * i).sum();
        pairs.get(0).equals(pairs.get(text.length() > sum ? 1 : sums.size()));
    }

    private static void formats() throws Exception {
        String text = String.format("%d %s %.2f%n", 7, "x", 0.5);
        byte[] bytes = "1 2 x".getBytes(StandardCharsets.UTF_8);
        try (Scanner in = new Scanner(new ByteArrayInputStream(bytes), StandardCharsets.UTF_8)) {
            while (in.hasNextInt()) {
                in.nextInt();
            }
        }
        try (BufferedReader in = new BufferedReader(
                new InputStreamReader(new ByteArrayInputStream(bytes), StandardCharsets.UTF_8))) {
            in.readLine().split(" ")[0].concat(text);
        }
    }
}
