import java.io.*;
import java.math.*;
import java.nio.charset.*;
import java.nio.file.*;
import java.time.*;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;
import java.util.concurrent.locks.*;
import java.util.function.*;
import java.util.regex.*;
import java.util.stream.*;

/** Does what most programs do, once (J2): the archive of classes is made of what it loads. */
public class Training {
    record Sale(String city, int amount, double price) implements Comparable<Sale> {
        public int compareTo(Sale other) { return Integer.compare(amount, other.amount); }
    }
    enum Size { SMALL, LARGE { @Override int of() { return 2; } }; int of() { return 1; } }
    static class Failure extends Exception { Failure(String why, Throwable cause) { super(why, cause); } }

    public String run() throws Exception {
        Locale.setDefault(Locale.ROOT);
        collections();
        streams();
        text();
        numbers();
        input();
        threads();
        failures();
        Shapes.all(new StringBuilder());
        return "done";
    }

    static void collections() {
        List<Integer> list = new ArrayList<>(List.of(3, 1, 2, 5));
        List<Collection<Integer>> kinds = List.of(list, new LinkedList<>(list), new ArrayDeque<>(list),
                new PriorityQueue<>(list), new HashSet<>(list), new LinkedHashSet<>(list), new TreeSet<>(list),
                new Stack<>(), new Vector<>(list), Set.of(1, 2, 3), Arrays.asList(1, 2), new CopyOnWriteArrayList<>(list),
                new PriorityQueue<>(Comparator.reverseOrder()), new ConcurrentLinkedQueue<>(list), Collections.emptyList(),
                Collections.unmodifiableList(list), Collections.synchronizedList(list), list.subList(1, 2));
        int sum = 0;
        for (Collection<Integer> kind : kinds) {
            for (Integer n : kind) sum += n;
            kind.stream().mapToInt(Integer::intValue).sum();
            kind.forEach(n -> { });
            kind.toArray(new Integer[0]);
            kind.contains(kind.toString().length());
        }
        List<Map<String, Integer>> maps = List.of(new HashMap<>(), new LinkedHashMap<>(), new TreeMap<>(),
                new ConcurrentHashMap<>(), new Hashtable<>(), new TreeMap<>(Comparator.reverseOrder()));
        for (Map<String, Integer> map : maps) {
            for (String key : "b a c a".split(" ")) map.merge(key, 1, Integer::sum);
            map.put("d", map.getOrDefault("e", 4));
            map.computeIfAbsent("f", k -> k.length());
            map.computeIfPresent("f", (k, v) -> v + 1);
            map.putIfAbsent("g", 7);
            for (Map.Entry<String, Integer> e : map.entrySet()) sum += e.getValue() + e.getKey().length();
            for (String key : map.keySet()) sum += key.length();
            for (int value : map.values()) sum += value;
            map.forEach((k, v) -> { });
            map.entrySet().stream().sorted(Map.Entry.<String, Integer>comparingByValue().reversed()
                    .thenComparing(Map.Entry.comparingByKey())).map(Map.Entry::getKey).collect(Collectors.toList());
            map.keySet().stream().sorted().toList();
            map.values().stream().mapToInt(v -> v).max();
            map.entrySet().removeIf(e -> e.getValue() > 5);
            map.toString();
        }
        TreeMap<Integer, String> tree = new TreeMap<>(Map.of(1, "a", 2, "b"));
        tree.floorKey(1); tree.ceilingEntry(2); tree.headMap(2).size(); tree.tailMap(1, true).size();
        tree.descendingMap().toString(); tree.firstEntry(); tree.pollFirstEntry();
        Map<Size, Integer> sizes = new EnumMap<>(Size.class);
        for (Size size : EnumSet.allOf(Size.class)) sizes.put(size, switch (size) { case SMALL -> 1; case LARGE -> size.of(); });
        Collections.sort(list);
        list.sort(Comparator.comparing((Integer n) -> n % 2).thenComparing(Comparator.naturalOrder()).reversed());
        Collections.shuffle(list, new Random(1));
        Collections.reverse(list); Collections.swap(list, 0, 1); Collections.max(list); Collections.min(list);
        Collections.frequency(list, 1); Collections.addAll(list, 8, 9); Collections.nCopies(3, "x"); Collections.binarySearch(list, 1);
        Iterator<Integer> each = list.iterator();
        while (each.hasNext()) if (each.next() > 4) each.remove();
        ListIterator<Integer> both = list.listIterator();
        while (both.hasNext()) both.set(both.next() + 1);
        list.removeIf(n -> n > 3); list.replaceAll(n -> n * 2); list.indexOf(4);
        int[] ints = {3, 1, 2};
        Integer[] boxed = {3, 1, 2};
        String[] words = {"b", "a"};
        Arrays.sort(ints); Arrays.sort(boxed, Collections.reverseOrder()); Arrays.sort(words); Arrays.sort(words, String::compareTo);
        Arrays.fill(ints, 1); Arrays.copyOf(ints, 2); Arrays.copyOfRange(words, 0, 1); Arrays.binarySearch(ints, 1);
        Arrays.equals(ints, ints); Arrays.hashCode(ints); Arrays.stream(words).toList(); Arrays.setAll(ints, i -> i);
        out(Arrays.toString(ints) + Arrays.toString(words) + Arrays.deepToString(new int[2][2]) + sum + sizes + new BitSet(3));
    }

    static void streams() {
        List<Sale> sales = IntStream.range(0, 20).mapToObj(i -> new Sale("c" + i % 3, i, i * 1.5)).collect(Collectors.toList());
        Map<String, List<Sale>> by = sales.stream().collect(Collectors.groupingBy(Sale::city));
        Map<String, Integer> sums = sales.stream().filter(s -> s.amount() % 2 == 0)
                .collect(Collectors.groupingBy(Sale::city, TreeMap::new, Collectors.summingInt(Sale::amount)));
        Map<String, Long> counts = sales.stream().collect(Collectors.groupingBy(Sale::city, Collectors.counting()));
        Map<Boolean, List<Sale>> parts = sales.stream().collect(Collectors.partitioningBy(s -> s.amount() > 3));
        Map<String, Double> means = sales.stream().collect(Collectors.groupingBy(Sale::city, Collectors.averagingInt(Sale::amount)));
        Map<String, Set<Integer>> sets = sales.stream().collect(Collectors.groupingBy(Sale::city,
                Collectors.mapping(Sale::amount, Collectors.toSet())));
        Map<Integer, String> named = sales.stream().collect(Collectors.toMap(Sale::amount, Sale::city));
        Map<String, Integer> merged = sales.stream().collect(
                Collectors.toMap(Sale::city, Sale::amount, Integer::sum, LinkedHashMap::new));
        String text = sales.stream().map(Sale::toString).sorted().distinct().limit(3).skip(1)
                .collect(Collectors.joining(", ", "[", "]"));
        Optional<Sale> best = sales.stream().max(Comparator.comparing(Sale::price).thenComparing(Sale::city));
        best.ifPresent(s -> { }); best.map(Sale::city).orElse(""); best.filter(s -> true).isPresent();
        sales.stream().min(Comparator.comparingInt(Sale::amount)).orElseThrow();
        sales.stream().sorted(Comparator.comparingDouble(Sale::price).reversed()).findFirst();
        sales.stream().mapToInt(Sale::amount).summaryStatistics().toString();
        sales.stream().mapToDouble(Sale::price).average().orElse(0);
        sales.stream().mapToLong(Sale::amount).sum();
        sales.stream().anyMatch(s -> s.amount() > 3); sales.stream().allMatch(s -> true); sales.stream().noneMatch(s -> false);
        sales.stream().map(Sale::amount).reduce(0, Integer::sum);
        sales.stream().map(Sale::amount).reduce(Integer::max);
        sales.stream().collect(Collectors.toCollection(TreeSet::new)).first();
        sales.stream().flatMap(s -> Stream.of(s.city(), "x")).collect(Collectors.toSet());
        sales.stream().peek(s -> { }).count(); sales.forEach(s -> { }); sales.stream().forEach(s -> { });
        Stream.iterate(1, n -> n * 2).limit(5).takeWhile(n -> n < 9).toList(); Stream.generate(() -> 1).limit(2).toArray();
        IntStream.rangeClosed(1, 5).boxed().filter(n -> n > 1).collect(Collectors.toList());
        IntStream.rangeClosed(1, 5).filter(n -> n % 2 == 1).map(n -> n * n).forEach(n -> { });
        IntStream.range(0, 3).mapToObj(Integer::toString).toArray(String[]::new);
        LongStream.rangeClosed(1, 5).reduce(1, (a, b) -> a * b);
        DoubleStream.of(1, 2).map(Math::sqrt).sum();
        Arrays.stream(new int[] {2, 1}).sorted().boxed().toList();
        "text".chars().filter(Character::isLetter).mapToObj(c -> (char) c).map(String::valueOf).collect(Collectors.joining());
        out(text + by + sums + counts + parts.size() + means + sets + named + merged);
        Function<Integer, Integer> twice = n -> n * 2;
        BiFunction<Integer, Integer, Integer> add = (a, b) -> a + b;
        Supplier<List<String>> fresh = ArrayList::new;
        UnaryOperator<String> upper = String::toUpperCase;
        Predicate<String> empty = String::isEmpty;
        BinaryOperator<Integer> larger = BinaryOperator.maxBy(Comparator.naturalOrder());
        int base = fresh.get().size();
        long wide = base;
        double point = base;
        String word = upper.apply("w");
        Supplier<Object> captured = () -> base + wide + point + word;
        IntFunction<Object> more = n -> n + base + word;
        IntUnaryOperator plus = n -> n + base;
        IntBinaryOperator times = (a, b) -> a * b;
        Consumer<Object> taker = o -> out(word + base + o);
        Runnable later = () -> out(point + word);
        taker.accept(more.apply(plus.applyAsInt(times.applyAsInt(1, 2))));
        later.run();
        out(twice.andThen(n -> n + 1).compose(twice).apply(add.apply(1, larger.apply(2, 3))) + "" + captured.get()
                + empty.negate().and(s -> true).or(s -> false).test(""));
    }

    static void text() throws Exception {
        String text = "The quick brown fox, 42 jumps.";
        StringBuilder made = new StringBuilder(text).reverse().insert(0, 1).append('c').append(2L).append(0.5).append(true);
        made.setCharAt(0, 'x'); made.deleteCharAt(0); made.setLength(3); made.indexOf("x");
        made.append(text.toUpperCase()).append(text.replace("o", "0")).append(text.replaceAll("[aeiou]", "_"));
        made.append(String.join("-", List.of("a", "b"))).append(String.join("+", "a", "b")).append(text.substring(3, 5));
        made.append(text.split("\\s+").length).append(text.split(",").length).append(text.matches(".*\\d+.*")).append(text.strip());
        made.append("ab".repeat(3)).append(text.indexOf("fox")).append(text.toCharArray().length).append(text.trim().isBlank());
        made.append(text.lines().count()).append(text.compareTo("a")).append(text.equalsIgnoreCase("b")).append(text.hashCode());
        made.append(String.valueOf(new char[] {'a'})).append(text.contains("x")).append(text.startsWith("The")).append("%d".formatted(3));
        Matcher matcher = Pattern.compile("(\\w+) (?<n>\\d+)").matcher(text);
        while (matcher.find()) made.append(matcher.group(1)).append(matcher.group("n"));
        made.append(String.format("%5d|%-5s|%05.2f|%x|%c|%b|%,d|%e|%%|%10s%n", 42, "a", 3.14159, 255, 'c', true, 1234567, 1e10, "r"));
        System.out.printf("%s %d %.3f%n", "a", 1, 2.0);
        System.out.print("x"); System.out.print(1); System.out.print('c'); System.out.println(2.5); System.out.println(true);
        System.out.println(3L); System.out.println('c'); System.out.println(new int[0].length); System.out.println((Object) null);
        System.out.println(new char[] {'a'}); System.out.println(1.5f); System.out.println(); System.out.flush();
        System.err.println("e"); System.err.printf("%d%n", 1);
        StringTokenizer tokens = new StringTokenizer(text, " ,");
        while (tokens.hasMoreTokens()) made.append(tokens.nextToken());
        StringJoiner joiner = new StringJoiner(",", "{", "}");
        joiner.add("a").add("b");
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        made.append(new String(bytes, StandardCharsets.UTF_8)).append(joiner).append(Arrays.toString(bytes)).append("ж😀".length());
        switch (text) { case "a" -> made.append(1); case "b" -> made.append(2); default -> made.append(3); }
        Character.isDigit('1'); Character.isLetterOrDigit('a'); Character.getNumericValue('7'); Character.toUpperCase('a');
        Objects.hash(1, "a"); Objects.equals(made, null); Objects.requireNonNull(made); Optional.ofNullable(null).isEmpty();
        out(made.toString());
    }

    static void numbers() {
        BigInteger big = BigInteger.TWO.pow(70).multiply(BigInteger.valueOf(3)).add(BigInteger.ONE).mod(new BigInteger("97"));
        BigDecimal exact = new BigDecimal("1.10").add(BigDecimal.valueOf(2)).setScale(1, RoundingMode.HALF_UP);
        exact = exact.divide(new BigDecimal("3"), 10, RoundingMode.HALF_EVEN).multiply(BigDecimal.TEN);
        Random random = new Random(7);
        int drawn = random.nextInt(10) + random.ints(3, 0, 9).sum() + (int) (random.nextDouble() + random.nextGaussian());
        out(big.gcd(BigInteger.TEN) + " " + exact + drawn + Integer.parseInt("12") + Long.parseLong("13") + Double.parseDouble("1.5")
                + Integer.toBinaryString(5) + Integer.toHexString(255) + Long.toString(9, 3) + Integer.MAX_VALUE + Math.PI
                + Math.floorMod(-1, 3) + Math.pow(2, 0.5) + Math.round(1.5) + Math.hypot(3, 4) + Integer.bitCount(7)
                + Double.compare(1, 2) + Boolean.parseBoolean("true") + Math.max(1L, 2L) + Math.sin(1) + Math.log10(2) + Math.ceil(.5)
                + Integer.valueOf(1000) + Long.valueOf(1) + Double.valueOf(2) + (float) 1.5 + (byte) 3 + (short) 4 + 1e-5 + 1e20);
        Duration span = Duration.ofMillis(1500).plus(Duration.ofSeconds(1));
        out(LocalDate.of(2024, 2, 28).plusDays(2) + " " + span + System.nanoTime() + System.currentTimeMillis() + Instant.EPOCH);
    }

    static void input() throws Exception {
        byte[] bytes = "1 2.5 word\nline two\n3\n".getBytes(StandardCharsets.UTF_8);
        try (Scanner in = new Scanner(new ByteArrayInputStream(bytes))) {
            out(in.nextInt() + in.nextDouble() + in.next() + in.nextLine() + in.nextLine() + in.hasNextInt() + in.nextLong());
            out("" + in.hasNext() + in.hasNextLine());
        }
        try (Scanner in = new Scanner(System.in); Scanner other = new Scanner("a,b").useDelimiter(",")) { out("" + other.hasNext()); }
        try (BufferedReader in = new BufferedReader(new InputStreamReader(new ByteArrayInputStream(bytes)))) {
            String line;
            while ((line = in.readLine()) != null) out(line);
        }
        try (BufferedReader in = new BufferedReader(new StringReader("a\nb"))) { in.lines().map(String::length).toList(); }
        StreamTokenizer tokens = new StreamTokenizer(new StringReader("1 a"));
        while (tokens.nextToken() != StreamTokenizer.TT_EOF) out(tokens.sval + tokens.nval);
        StringWriter written = new StringWriter();
        try (PrintWriter writer = new PrintWriter(new BufferedWriter(written))) { writer.println(1); writer.printf("%d", 2); }
        PrintWriter quick = new PrintWriter(System.out);
        quick.println("x"); quick.flush();
        BufferedWriter slow = new BufferedWriter(new OutputStreamWriter(System.out));
        slow.write("y"); slow.newLine(); slow.flush();
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        DataOutputStream data = new DataOutputStream(out);
        data.writeInt(1); data.writeUTF("a");
        new DataInputStream(new ByteArrayInputStream(out.toByteArray())).readInt();
        Path path = Path.of("training.txt");
        try {
            Files.writeString(path, "a\nb\n"); Files.readAllLines(path); Files.readString(path); Files.delete(path);
        } catch (IOException nowhereToWrite) {
            out(path + " " + Files.exists(path));
        }
    }

    static void threads() throws Exception {
        AtomicInteger count = new AtomicInteger();
        AtomicLong wide = new AtomicLong();
        Thread thread = new Thread(() -> count.incrementAndGet());
        thread.setDaemon(true); thread.start(); thread.join(); thread.getName();
        ExecutorService pool = Executors.newFixedThreadPool(2);
        Future<Integer> one = pool.submit(() -> count.addAndGet(2));
        pool.execute(() -> wide.incrementAndGet());
        pool.invokeAll(List.of(() -> 1, () -> 2));
        CompletableFuture<String> later = CompletableFuture.supplyAsync(() -> "a", pool).thenApply(s -> s + 1);
        out(one.get() + later.thenCombine(CompletableFuture.completedFuture(2), (a, b) -> a + b).get(5, TimeUnit.SECONDS));
        pool.shutdown(); pool.awaitTermination(5, TimeUnit.SECONDS);
        CountDownLatch latch = new CountDownLatch(1);
        latch.countDown(); latch.await();
        Lock lock = new ReentrantLock();
        lock.lock();
        try { lock.newCondition().signalAll(); } finally { lock.unlock(); }
        Semaphore permits = new Semaphore(1);
        permits.acquire(); permits.release();
        BlockingQueue<Integer> queue = new LinkedBlockingQueue<>();
        queue.put(1); queue.take(); queue.poll(1, TimeUnit.MILLISECONDS); new ArrayBlockingQueue<>(3).offer(1);
        Object monitor = new Object();
        synchronized (monitor) { monitor.notifyAll(); monitor.wait(1); }
        ThreadLocal<Integer> own = ThreadLocal.withInitial(() -> 1);
        own.get(); Thread.sleep(1); ConcurrentHashMap.newKeySet().add(1);
        new ReadWrite().read();
    }

    static class ReadWrite {
        private final ReadWriteLock lock = new ReentrantReadWriteLock();
        volatile int value;
        int read() { lock.readLock().lock(); try { return value; } finally { lock.readLock().unlock(); } }
    }

    static void failures() {
        List<Supplier<Object>> wrong = List.of(() -> new int[0][1], () -> new int[1][-1], () -> Integer.parseInt("x"),
                () -> List.of().get(0), () -> ((Object) "s").equals(null) ? 1 : (Integer) (Object) "s", () -> new ArrayList<>().iterator().next(),
                () -> "a".charAt(3), () -> 1 / "".length(), () -> Optional.empty().get(), () -> ((String) null).length(),
                () -> new ArrayDeque<>().pop(), () -> List.of(1).remove(0), () -> Size.valueOf("NONE"), () -> { throw new IllegalStateException("x"); });
        for (Supplier<Object> each : wrong) {
            try {
                try { each.get(); } catch (RuntimeException e) { throw new Failure("wrapped " + e.getMessage(), e); } finally { out("."); }
            } catch (Failure e) {
                StringWriter trace = new StringWriter();
                e.printStackTrace(new PrintWriter(trace));
                e.printStackTrace();
                out(e + trace.toString() + e.getStackTrace().length);
            }
        }
    }

    static void out(String text) { if (text.isEmpty()) System.out.println(text); }
}
