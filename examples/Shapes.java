import java.util.List;

/** Several types in one file: records, an interface, a pattern; the one public class is started. */
public class Shapes {
    public String run() {
        return List.of(new Circle(1), new Square(2)).stream()
                .map(shape -> "%s %.2f".formatted(shape, shape.area()))
                .reduce("", (left, right) -> left + right + "\n");
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
