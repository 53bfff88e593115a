import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.ObjectWriter;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Map;
import java.util.Properties;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;

/**
 * The bare gate on Flink's local mini-cluster: RocksDB state with incremental checkpoints, exactly-once Kafka sink.
 *
 * <p>bootstrap= group= intents= decisions= state= messages= checkpoint_ms= parallelism= timeout_s=
 */
public final class FlinkGate {
    static final long CASH_E4 = 300_000L * 10_000;
    static Meter meter;

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

    public static final class Balance {
        public long cash;
        public long reserved;
        public long seq;
    }

    public static final class Out {
        public String key;
        public byte[] value;
    }

    static final class IntentReader implements KafkaRecordDeserializationSchema<Intent> {
        private transient ObjectReader reader;

        @Override
        public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<Intent> out) throws IOException {
            if (reader == null) {
                reader = new ObjectMapper()
                    .configure(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES, false).readerFor(Intent.class);
            }
            out.collect(reader.readValue(record.value()));
        }

        @Override
        public TypeInformation<Intent> getProducedType() {
            return TypeInformation.of(Intent.class);
        }
    }

    static final class Gate extends KeyedProcessFunction<String, Intent, Out> {
        private transient ValueState<Balance> accounts;
        private transient ObjectWriter writer;

        @Override
        public void open(OpenContext context) {
            accounts = getRuntimeContext().getState(new ValueStateDescriptor<>("accounts", Balance.class));
            writer = new ObjectMapper().writerFor(Decision.class);
        }

        @Override
        public void processElement(Intent intent, Context context, Collector<Out> out) throws Exception {
            Balance balance = accounts.value();
            if (balance == null) {
                balance = new Balance();
                balance.cash = CASH_E4;
            }
            long need = intent.qty * intent.price_e4;
            boolean accepted = balance.cash - balance.reserved >= need;
            if (accepted) balance.reserved += need;
            balance.seq++;
            accounts.update(balance);
            Decision decision = new Decision();
            decision.intent_id = intent.intent_id;
            decision.account = intent.account;
            decision.accepted = accepted;
            decision.seq = balance.seq;
            decision.reserved = balance.reserved;
            Out record = new Out();
            record.key = intent.account;
            record.value = writer.writeValueAsBytes(decision);
            out.collect(record);
            meter.hit();
        }
    }

    static final class DecisionWriter implements KafkaRecordSerializationSchema<Out> {
        private final String topic;

        DecisionWriter(String topic) {
            this.topic = topic;
        }

        @Override
        public ProducerRecord<byte[], byte[]> serialize(Out out, KafkaSinkContext context, Long timestamp) {
            return new ProducerRecord<>(topic, out.key.getBytes(), out.value);
        }
    }

    static Configuration configuration(Map<String, String> options) {
        Configuration configuration = new Configuration();
        configuration.setString("state.backend.type", "rocksdb");
        configuration.setString("execution.checkpointing.incremental", "true");
        configuration.setString("execution.checkpointing.storage", "filesystem");
        configuration.setString(
            "execution.checkpointing.dir", Path.of(options.get("state")).toAbsolutePath().toUri().toString());
        configuration.setString("execution.checkpointing.interval", options.get("checkpoint_ms") + " ms");
        configuration.setString("execution.checkpointing.min-pause", "0 ms");
        configuration.setString("restart-strategy.type", "none");
        configuration.setString("pipeline.object-reuse", "true");
        return configuration;
    }

    public static void main(String[] arguments) throws Exception {
        Map<String, String> options = Meter.options(arguments);
        meter = new Meter(Long.parseLong(options.get("messages")));
        var environment = StreamExecutionEnvironment.createLocalEnvironment(
            Integer.parseInt(options.get("parallelism")), configuration(options));
        var source = KafkaSource.<Intent>builder()
            .setBootstrapServers(options.get("bootstrap")).setTopics(options.get("intents"))
            .setGroupId(options.get("group")).setStartingOffsets(OffsetsInitializer.earliest())
            .setDeserializer(new IntentReader()).build();
        Properties producer = new Properties();
        producer.put("transaction.timeout.ms", "600000");
        producer.put("linger.ms", "5");
        var sink = KafkaSink.<Out>builder()
            .setBootstrapServers(options.get("bootstrap")).setRecordSerializer(new DecisionWriter(options.get("decisions")))
            .setKafkaProducerConfig(producer).setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE)
            .setTransactionalIdPrefix(options.get("group")).build();
        environment.fromSource(source, WatermarkStrategy.noWatermarks(), "intents")
            .keyBy(intent -> intent.account).process(new Gate()).sinkTo(sink);
        environment.executeAsync("gate");
        int code = meter.report(Long.parseLong(options.get("timeout_s")));
        Runtime.getRuntime().halt(code);  // the job reads for ever; what it would tidy up is thrown away
    }
}
