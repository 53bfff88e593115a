import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;

/** The market work, the same for every JVM: read a tick, add it to its second, write the second's bar. */
public final class Bars {
    static final long SECOND_NS = 1_000_000_000L;
    static final byte TRADE = 'P';
    private static final int EVENT_NS_AT = 0, PRICE_AT = 32, QTY_AT = 40, KIND_AT = 52;
    private static final String[] SECTORS = {"energy", "materials", "industrials", "discretionary", "staples",
        "health", "financials", "technology", "communication", "utilities", "realty"};

    private Bars() {}

    /** A tick as it stands on the topic (TICK, 56 bytes, little-endian), and what is looked up of its symbol. */
    public static final class Tick {
        public String symbol;
        public long eventNs, priceE4, qty;
        public byte kind;
        public String sector;
    }

    /** A symbol's second. */
    public static final class Bar {
        public long notionalE4, volume, jumpedE4;
        public int trades, jumps;
        public String sector;
    }

    public static Tick tick(byte[] value) {
        ByteBuffer fields = ByteBuffer.wrap(value).order(ByteOrder.LITTLE_ENDIAN);
        Tick tick = new Tick();
        tick.eventNs = fields.getLong(EVENT_NS_AT);
        tick.priceE4 = fields.getLong(PRICE_AT);
        tick.qty = fields.getLong(QTY_AT);
        tick.kind = fields.get(KIND_AT);
        return tick;
    }

    /** The reference data: symbols are SYM and their number. */
    public static String sector(int symbol) {
        return SECTORS[symbol % SECTORS.length];
    }

    /** Adds a trade; one that is more than 5 % away from the second's VWAP before it is a jump. */
    public static void add(Bar bar, Tick trade) {
        if (bar.volume > 0 && Math.abs(trade.priceE4 * bar.volume - bar.notionalE4) * 20 > bar.notionalE4) {
            bar.jumps++;
            bar.jumpedE4 = trade.priceE4;
        }
        bar.notionalE4 += trade.priceE4 * trade.qty;
        bar.volume += trade.qty;
        bar.trades++;
        bar.sector = trade.sector;
    }

    public static byte[] bar(long secondMs, Bar bar) {
        return text("{\"bar\":" + secondMs + ",\"sector\":\"" + bar.sector + "\",\"vwap_e4\":"
            + bar.notionalE4 / bar.volume + ",\"notional_e4\":" + bar.notionalE4 + ",\"volume\":" + bar.volume
            + ",\"trades\":" + bar.trades + "}");
    }

    public static byte[] alert(long secondMs, Bar bar) {
        return text("{\"alert\":" + secondMs + ",\"jumps\":" + bar.jumps + ",\"price_e4\":" + bar.jumpedE4 + "}");
    }

    private static byte[] text(String text) {
        return text.getBytes(StandardCharsets.US_ASCII);
    }
}
