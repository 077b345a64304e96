// Programs to begin with.

export const EXAMPLES = {
  "Hello": { source: `public class Hello {
    public String run() {
        return "Hello from Java " + Runtime.version().feature() + ", somewhere in the cluster";
    }
}
` },
  "Records and streams": { source: `import java.util.List;

/** Several types in one file; the one public class is started. */
public class Shapes {
    public String run() {
        return List.of(new Circle(1), new Square(2)).stream()
                .map(shape -> "%s has area %.2f".formatted(shape, shape.area()))
                .reduce("", (left, right) -> left + right + "\\n");
    }
}

interface Shape {
    double area();
}

record Circle(double radius) implements Shape {
    public double area() {
        return Math.PI * radius * radius;
    }
}

record Square(double side) implements Shape {
    public double area() {
        return side * side;
    }
}
` },
  "Arguments and input": { source: `import java.util.Scanner;

/** Reads numbers from standard input, and greets whom its arguments name. */
public class Sum {
    public static void main(String[] args) {
        System.out.println("Hello, " + String.join(" and ", args) + "!");
        long sum = 0;
        var in = new Scanner(System.in);
        while (in.hasNextLong()) {
            sum += in.nextLong();
        }
        System.out.println("The sum is " + sum);
    }
}
`, args: 'Ada "Grace Hopper"', stdin: "3 4\n35\n" },
  "Output as it comes": { source: `/** Kill its worker, or the leader, while it counts: the cluster goes on. */
public class Countdown {
    public static void main(String[] args) throws InterruptedException {
        for (int left = 8; left > 0; left--) {
            System.out.print(left + " " + "▪".repeat(left) + "\\n");
            Thread.sleep(700);
        }
        System.out.println("lift-off");
    }
}
` },
  "An error to find": { source: `import java.util.ArrayList;

public class Mistakes {
    public static void main(String[] args) {
        var names = new ArrayList<String>();
        names.add(42);
        for (String name : names) {
            System.out.println(nane.toUpperCase());
        }
    }
}
` },
  "An exception": { source: `public class Boom {
    public static void main(String[] args) {
        System.out.println("so far, so good");
        int[] few = new int[3];
        few[3] = 1;
    }
}
` },
  "It never ends": { source: `/** The cluster stops it and says which limit it passed. */
public class Endless {
    public static void main(String[] args) {
        System.out.println("still here");
        while (true) {
            Thread.onSpinWait();
        }
    }
}
` },
};
