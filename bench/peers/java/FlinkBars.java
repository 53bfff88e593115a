import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.AggregateFunction;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.functions.RichMapFunction;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.windowing.ProcessWindowFunction;
import org.apache.flink.streaming.api.windowing.assigners.TumblingEventTimeWindows;
import org.apache.flink.streaming.api.windowing.windows.TimeWindow;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;

/**
 * Bars of a second and their jumps on Flink's local mini-cluster: windows on the heap, checkpoints, exactly-once sink.
 *
 * <p>The options of FlinkGate, symbols= beside them.
 */
public final class FlinkBars {
    static Meter meter;
    static int symbols;

    private FlinkBars() {}

    static final class TickReader implements KafkaRecordDeserializationSchema<Bars.Tick> {
        @Override
        public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<Bars.Tick> out) {
            Bars.Tick tick = Bars.tick(record.value());
            tick.symbol = new String(record.key());
            out.collect(tick);
        }

        @Override
        public TypeInformation<Bars.Tick> getProducedType() {
            return TypeInformation.of(Bars.Tick.class);
        }
    }

    static final class Enrich extends RichMapFunction<Bars.Tick, Bars.Tick> {
        private transient Map<String, String> sectors;

        @Override
        public void open(OpenContext context) {
            sectors = new java.util.HashMap<>();
            for (int number = 0; number < symbols; number++) {
                sectors.put(String.format("SYM%04d", number), Bars.sector(number));
            }
        }

        @Override
        public Bars.Tick map(Bars.Tick tick) {
            tick.sector = sectors.getOrDefault(tick.symbol, "unknown");
            meter.hit();
            return tick;
        }
    }

    static final class Add implements AggregateFunction<Bars.Tick, Bars.Bar, Bars.Bar> {
        @Override
        public Bars.Bar createAccumulator() {
            return new Bars.Bar();
        }

        @Override
        public Bars.Bar add(Bars.Tick tick, Bars.Bar bar) {
            Bars.add(bar, tick);
            return bar;
        }

        @Override
        public Bars.Bar getResult(Bars.Bar bar) {
            return bar;
        }

        @Override
        public Bars.Bar merge(Bars.Bar one, Bars.Bar other) {
            throw new UnsupportedOperationException("tumbling windows are never merged");
        }
    }

    static final class Emit extends ProcessWindowFunction<Bars.Bar, FlinkGate.Out, String, TimeWindow> {
        @Override
        public void process(String symbol, Context context, Iterable<Bars.Bar> bars, Collector<FlinkGate.Out> out) {
            Bars.Bar bar = bars.iterator().next();
            long secondMs = context.window().getStart();
            out.collect(said(symbol, Bars.bar(secondMs, bar)));
            if (bar.jumps > 0) out.collect(said(symbol, Bars.alert(secondMs, bar)));
        }

        private static FlinkGate.Out said(String symbol, byte[] value) {
            FlinkGate.Out out = new FlinkGate.Out();
            out.key = symbol;
            out.value = value;
            return out;
        }
    }

    public static void main(String[] arguments) throws Exception {
        Map<String, String> options = Meter.options(arguments);
        meter = new Meter(Long.parseLong(options.get("messages")));
        symbols = Integer.parseInt(options.get("symbols"));
        Configuration configuration = FlinkGate.configuration(options);
        configuration.setString("state.backend.type", "hashmap");
        configuration.setString("execution.checkpointing.incremental", "false");
        var environment = StreamExecutionEnvironment.createLocalEnvironment(
            Integer.parseInt(options.get("parallelism")), configuration);
        var source = KafkaSource.<Bars.Tick>builder()
            .setBootstrapServers(options.get("bootstrap")).setTopics(options.get("intents"))
            .setGroupId(options.get("group")).setStartingOffsets(OffsetsInitializer.earliest())
            .setDeserializer(new TickReader()).build();
        var watermarks = WatermarkStrategy.<Bars.Tick>forMonotonousTimestamps()
            .withTimestampAssigner((tick, before) -> tick.eventNs / 1_000_000);
        Properties producer = new Properties();
        producer.put("transaction.timeout.ms", "600000");
        producer.put("linger.ms", "5");
        var sink = KafkaSink.<FlinkGate.Out>builder()
            .setBootstrapServers(options.get("bootstrap"))
            .setRecordSerializer(new FlinkGate.DecisionWriter(options.get("decisions")))
            .setKafkaProducerConfig(producer).setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE)
            .setTransactionalIdPrefix(options.get("group")).build();
        environment.fromSource(source, watermarks, "ticks")
            .map(new Enrich()).filter(tick -> tick.kind == Bars.TRADE)
            .keyBy(tick -> tick.symbol).window(TumblingEventTimeWindows.of(Duration.ofSeconds(1)))
            .aggregate(new Add(), new Emit()).sinkTo(sink);
        environment.executeAsync("bars");
        int code = meter.report(Long.parseLong(options.get("timeout_s")));
        Thread.sleep(Long.parseLong(options.get("checkpoint_ms")) * 30);  // what was written becomes visible
        Runtime.getRuntime().halt(code);  // the job reads for ever; what it would tidy up is thrown away
    }
}
