package shop;

import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;

/** Counts what a program did, in its own words, and prints that when it ends. */
public final class Counts {
    private final ConcurrentHashMap<String, AtomicInteger> counts = new ConcurrentHashMap<>();

    public Counts() {
        Runtime.getRuntime().addShutdownHook(new Thread(this::print));
    }

    /** Counts one request. */
    public void add(String method, String path, int status) {
        var route = path.replaceFirst("^/api/v1/users/\\d+$", "/api/v1/users/{id}");
        var kind = """
                {"protocol":"http","method":"%s","route":"%s","status":%d,"count":"""
                .formatted(method, route, status);
        counts.computeIfAbsent(kind, it -> new AtomicInteger()).incrementAndGet();
    }

    private void print() {
        counts.forEach((kind, count) -> System.out.println(kind + count + "}"));
        System.out.flush();
    }
}
