import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.Suppressed;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.state.WindowStore;

/**
 * Bars of a second and their jumps on Kafka Streams' DSL: exactly_once_v2, windows in RocksDB, written when they close.
 *
 * <p>The options of StreamsGate, symbols= beside them.
 */
public final class StreamsBars {
    private StreamsBars() {}

    static <T> Serde<T> serde(Serializer<T> to, Deserializer<T> from) {
        return Serdes.serdeFrom(to, from);
    }

    static byte[] written(Bars.Bar bar) {
        if (bar == null) return null;
        byte[] sector = bar.sector == null ? new byte[0] : bar.sector.getBytes(StandardCharsets.US_ASCII);
        return ByteBuffer.allocate(32 + sector.length).putLong(bar.notionalE4).putLong(bar.volume)
            .putLong(bar.jumpedE4).putInt(bar.trades).putInt(bar.jumps).put(sector).array();
    }

    static Bars.Bar read(byte[] row) {
        if (row == null) return null;
        ByteBuffer fields = ByteBuffer.wrap(row);
        Bars.Bar bar = new Bars.Bar();
        bar.notionalE4 = fields.getLong();
        bar.volume = fields.getLong();
        bar.jumpedE4 = fields.getLong();
        bar.trades = fields.getInt();
        bar.jumps = fields.getInt();
        bar.sector = new String(row, 32, row.length - 32, StandardCharsets.US_ASCII);
        return bar;
    }

    static byte[] unused(Bars.Tick tick) {
        throw new IllegalStateException("ticks are written nowhere: the topic's key is the group's");
    }

    static Topology topology(Map<String, String> options, Meter meter) {
        Map<String, String> sectors = new HashMap<>();
        for (int number = 0; number < Integer.parseInt(options.get("symbols")); number++) {
            sectors.put(String.format("SYM%04d", number), Bars.sector(number));
        }
        Serde<Bars.Tick> ticks = serde((topic, tick) -> unused(tick), (topic, value) -> Bars.tick(value));
        Serde<Bars.Bar> bars = serde((topic, bar) -> written(bar), (topic, row) -> read(row));
        StreamsBuilder builder = new StreamsBuilder();
        var source = Consumed.with(Serdes.String(), ticks)
            .withTimestampExtractor((record, before) -> ((Bars.Tick) record.value()).eventNs / 1_000_000);
        builder.stream(options.get("intents"), source)
            .mapValues((symbol, tick) -> {
                tick.sector = sectors.getOrDefault(symbol, "unknown");
                meter.hit();
                return tick;
            })
            .filter((symbol, tick) -> tick.kind == Bars.TRADE)
            .groupByKey(Grouped.with(Serdes.String(), ticks))
            .windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofSeconds(1), Duration.ZERO))
            .aggregate(Bars.Bar::new, (symbol, tick, bar) -> {
                Bars.add(bar, tick);
                return bar;
            }, Materialized.<String, Bars.Bar, WindowStore<Bytes, byte[]>>as("bars")
                .withKeySerde(Serdes.String()).withValueSerde(bars))
            .suppress(Suppressed.untilWindowCloses(Suppressed.BufferConfig.unbounded()))
            .toStream()
            .flatMap((window, bar) -> {
                List<KeyValue<String, byte[]>> said = new ArrayList<>(2);
                said.add(KeyValue.pair(window.key(), Bars.bar(window.window().start(), bar)));
                if (bar.jumps > 0) said.add(KeyValue.pair(window.key(), Bars.alert(window.window().start(), bar)));
                return said;
            })
            .to(options.get("decisions"), Produced.with(Serdes.String(), Serdes.ByteArray()));
        return builder.build();
    }

    public static void main(String[] arguments) throws Exception {
        Map<String, String> options = Meter.options(arguments);
        Meter meter = new Meter(Long.parseLong(options.get("messages")));
        KafkaStreams streams = new KafkaStreams(topology(options, meter), StreamsGate.properties(options));
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        streams.start();
        int code = meter.report(Long.parseLong(options.get("timeout_s")));
        streams.close(Duration.ofSeconds(20));
        System.exit(code);
    }
}
