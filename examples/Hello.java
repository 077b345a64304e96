/** The original contract: a public class with a no-argument constructor and `public String run()`. */
public class Hello {
    public String run() {
        return "Hello from Java " + Runtime.version().feature() + ", somewhere in the cluster";
    }
}
