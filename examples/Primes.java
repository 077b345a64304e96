import java.util.stream.Collectors;
import java.util.stream.IntStream;

/** A plain `main`: what it prints is the answer. */
public class Primes {
    public static void main(String[] args) {
        System.out.println(
                IntStream.rangeClosed(2, 100)
                        .filter(Primes::isPrime)
                        .mapToObj(Integer::toString)
                        .collect(Collectors.joining(" ")));
    }

    private static boolean isPrime(int n) {
        return IntStream.rangeClosed(2, (int) Math.sqrt(n)).noneMatch(d -> n % d == 0);
    }
}
