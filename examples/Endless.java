/** Never ends by itself: the cluster stops it and says which limit it passed. */
public class Endless {
    public static void main(String[] args) {
        System.out.println("still here");
        while (true) {
            Thread.onSpinWait();
        }
    }
}
