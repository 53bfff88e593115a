import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;

/** Counts handled records; reads wall clock and CPU time of this process at the first, the middle and the last one. */
public final class Meter {
    private record Snapshot(double wallS, double cpuS) {}

    private final long messages;
    private final AtomicLong handled = new AtomicLong();
    private final CountDownLatch done = new CountDownLatch(1);
    private volatile Snapshot first, half, last;

    /** {@code messages} 0: counts nothing, the program serves until it is stopped. */
    public Meter(long messages) {
        this.messages = messages;
    }

    /** Arguments {@code name=value} as a map. */
    public static Map<String, String> options(String[] arguments) {
        Map<String, String> options = new HashMap<>();
        for (String argument : arguments) {
            int at = argument.indexOf('=');
            if (at < 1) throw new IllegalArgumentException("not NAME=VALUE: " + argument);
            options.put(argument.substring(0, at), argument.substring(at + 1));
        }
        return options;
    }

    private static Snapshot now() {
        try {
            String stat = Files.readString(Path.of("/proc/self/stat"));
            String[] fields = stat.substring(stat.lastIndexOf(')') + 2).split(" ");
            double cpuS = (Long.parseLong(fields[11]) + Long.parseLong(fields[12])) / 100.0;
            return new Snapshot(System.nanoTime() / 1e9, cpuS);
        } catch (java.io.IOException error) {
            throw new java.io.UncheckedIOException(error);
        }
    }

    public void hit() {
        if (messages == 0) return;
        long count = handled.incrementAndGet();
        if (count == 1) first = now();
        if (count == messages / 2) half = now();
        if (count == messages) {
            last = now();
            done.countDown();
        }
    }

    private static String part(Snapshot from, Snapshot to, long count) {
        double wall = to.wallS - from.wallS, cpu = Math.max(to.cpuS - from.cpuS, 0.01);
        return String.format(
            Locale.ROOT, "{\"s\":%.3f,\"per_s\":%.0f,\"per_cpu_s\":%.0f}", wall, count / wall, count / cpu);
    }

    /** Waits for the last record and prints one JSON line; exit code 1 where it does not come in time. */
    public int report(long timeoutS) throws InterruptedException {
        if (!done.await(timeoutS, TimeUnit.SECONDS)) {
            System.out.println("{\"messages\":" + messages + ",\"handled\":" + handled.get() + "}");
            return 1;
        }
        System.out.println("{\"messages\":" + messages + ",\"all\":" + part(first, last, messages)
            + ",\"steady\":" + part(half, last, messages - messages / 2) + "}");
        return 0;
    }
}
