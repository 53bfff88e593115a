import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.ObjectWriter;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * The bare gate on Kafka Streams' Processor API: exactly_once_v2, RocksDB store with changelog.
 *
 * <p>bootstrap= group= intents= decisions= state= messages= commit_ms= threads= timeout_s=, and streams.NAME= for any
 * property of Kafka Streams. With messages=0 it serves until it is stopped and keeps its state.
 */
public final class StreamsGate {
    static final long CASH_E4 = 300_000L * 10_000;
    static final ObjectMapper MAPPER =
        new ObjectMapper().configure(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES, false);

    public static final class Intent {
        public long intent_id;
        public String account;
        public int qty;
        public long price_e4;
    }

    public static final class Decision {
        public long intent_id;
        public String account;
        public boolean accepted;
        public long seq;
        public long reserved;
    }

    static final class Gate implements Processor<String, byte[], String, byte[]> {
        private final Meter meter;
        private final ObjectReader reader = MAPPER.readerFor(Intent.class);
        private final ObjectWriter writer = MAPPER.writerFor(Decision.class);
        private ProcessorContext<String, byte[]> context;
        private KeyValueStore<String, byte[]> accounts;

        Gate(Meter meter) {
            this.meter = meter;
        }

        @Override
        public void init(ProcessorContext<String, byte[]> context) {
            this.context = context;
            accounts = context.getStateStore("accounts");
        }

        @Override
        public void process(Record<String, byte[]> record) {
            try {
                Intent intent = reader.readValue(record.value());
                byte[] row = accounts.get(intent.account);
                long cash = CASH_E4, reserved = 0, seq = 0;
                if (row != null) {
                    ByteBuffer fields = ByteBuffer.wrap(row);
                    cash = fields.getLong();
                    reserved = fields.getLong();
                    seq = fields.getLong();
                }
                long need = intent.qty * intent.price_e4;
                boolean accepted = cash - reserved >= need;
                if (accepted) reserved += need;
                seq++;
                byte[] updated = ByteBuffer.allocate(24).putLong(cash).putLong(reserved).putLong(seq).array();
                accounts.put(intent.account, updated);
                Decision decision = new Decision();
                decision.intent_id = intent.intent_id;
                decision.account = intent.account;
                decision.accepted = accepted;
                decision.seq = seq;
                decision.reserved = reserved;
                context.forward(record.withValue(writer.writeValueAsBytes(decision)));
                meter.hit();
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        }
    }

    static Topology topology(Map<String, String> options, Meter meter) {
        Topology topology = new Topology();
        topology.addSource(
            "intents", Serdes.String().deserializer(), Serdes.ByteArray().deserializer(), options.get("intents"));
        topology.addProcessor("gate", () -> new Gate(meter), "intents");
        var store = Stores.persistentKeyValueStore("accounts");
        topology.addStateStore(Stores.keyValueStoreBuilder(store, Serdes.String(), Serdes.ByteArray()), "gate");
        topology.addSink(
            "decisions", options.get("decisions"), Serdes.String().serializer(), Serdes.ByteArray().serializer(),
            "gate");
        return topology;
    }

    static Properties properties(Map<String, String> options) {
        Properties properties = new Properties();
        properties.put("application.id", options.get("group"));
        properties.put("bootstrap.servers", options.get("bootstrap"));
        properties.put("state.dir", options.get("state"));
        properties.put("commit.interval.ms", options.get("commit_ms"));
        properties.put("num.stream.threads", options.get("threads"));
        properties.put("processing.guarantee", "exactly_once_v2");
        properties.put("auto.offset.reset", "earliest");
        properties.put("replication.factor", 1);
        options.forEach((name, value) -> {
            if (name.startsWith("streams.")) properties.put(name.substring("streams.".length()), value);
        });
        return properties;
    }

    public static void main(String[] arguments) throws Exception {
        Map<String, String> options = Meter.options(arguments);
        long messages = Long.parseLong(options.get("messages"));
        Meter meter = new Meter(messages);
        KafkaStreams streams = new KafkaStreams(topology(options, meter), properties(options));
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            return StreamThreadExceptionResponse.REPLACE_THREAD;
        });
        streams.setStateListener((now, before) -> System.out.println("state " + now));
        streams.start();
        if (messages == 0) {
            Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(10))));
            Thread.sleep(Long.MAX_VALUE);
        }
        int code = meter.report(Long.parseLong(options.get("timeout_s")));
        streams.close(Duration.ofSeconds(20));
        System.exit(code);
    }
}
