/** Two functions that are compiled at run time, one called by the other, for ever. */
public final class Busy {
    static volatile long sink;

    static long leaf(long seed) {
        long value = seed;
        for (int i = 0; i < 100_000; i++) value = value * 6364136223846793005L + i;
        return value;
    }

    static long middle(long seed) {
        long sum = 0;
        for (int i = 0; i < 100; i++) sum += leaf(seed + i);
        return sum;
    }

    public static void main(String[] args) {
        for (;;) sink = middle(sink);
    }
}
