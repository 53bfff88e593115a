import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.FilterFunction;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.cep.CEP;
import org.apache.flink.cep.functions.PatternProcessFunction;
import org.apache.flink.cep.nfa.aftermatch.AfterMatchSkipStrategy;
import org.apache.flink.cep.pattern.Pattern;
import org.apache.flink.cep.pattern.conditions.IterativeCondition;
import org.apache.flink.cep.pattern.conditions.SimpleCondition;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.util.CloseableIterator;
import org.apache.flink.util.Collector;

/**
 * The shipped patterns of orders, and some of the tests, written a second time by hand for Flink CEP, over a file of order
 * actions. {@code tests/signals/test_flink_cep.py} holds the engine of signals against it.
 *
 * <p>{@code actions=FILE}: a line an action, in the order of the log, its fields as {@link Action} reads them; the first is
 * the group of rules that it is for, {@code shipped} or {@code tests}, the second the trial, which is a market of its own.
 * Printed is a line {@code MATCH skip rule way trial instrument order toward end begin} for each action that completes a
 * rule: {@code end} is its place in the trial, {@code begin} that of the latest first action that Flink found for it.
 * {@code skip} is Flink's strategy after a match: {@code NONE} or {@code PAST_LAST_EVENT}.
 *
 * <p>What the declaration calls "within" is up to and including that time, Flink's is less than it, hence one more. Flink
 * counts milliseconds; here one of them stands for a nanosecond. A way is one of several to take the steps: what follows a
 * negation cannot be optional for Flink, which advises to write such patterns apart.
 */
public final class FlinkCep {
    static final long S = 1_000_000_000;
    static final List<Action> ACTIONS = new ArrayList<>();
    static final Map<Integer, Set<Integer>> INSTRUMENTS = new HashMap<>();

    enum Key { INSTRUMENT, SIDE, ORDER }

    /** An action as one key sees it. {@code toward}: the side that is followed, 1 or -1; 0 by instrument and order. */
    public static final class Action {
        public int trial, at, instrument, side, toward;
        public String group, kind;
        public long clock, order, price, qty, left, near, nearSize, opposite, oppositeSize, last;

        public Action() {}

        static Action read(String line) {
            String[] cells = line.split("\t");
            Action action = new Action();
            action.group = cells[0];
            action.trial = Integer.parseInt(cells[1]);
            action.at = Integer.parseInt(cells[2]);
            action.kind = cells[3];
            action.instrument = Integer.parseInt(cells[4]);
            action.side = Integer.parseInt(cells[5]);
            long[] numbers = new long[10];
            for (int i = 0; i < numbers.length; i++) numbers[i] = Long.parseLong(cells[6 + i]);
            action.fill(numbers);
            return action;
        }

        private void fill(long[] numbers) {
            clock = numbers[0];
            order = numbers[1];
            price = numbers[2];
            qty = numbers[3];
            left = numbers[4];
            near = numbers[5];
            nearSize = numbers[6];
            opposite = numbers[7];
            oppositeSize = numbers[8];
            last = numbers[9];
        }

        Action seenBy(int instrument, int toward) {
            Action copy = new Action();
            copy.group = group;
            copy.trial = trial;
            copy.at = at;
            copy.kind = kind;
            copy.instrument = instrument;
            copy.side = side;
            copy.toward = toward;
            copy.fill(new long[] {clock, order, price, qty, left, near, nearSize, opposite, oppositeSize, last});
            return copy;
        }

        String key(Key by) {
            return trial + "\t" + instrument + "\t" + (by == Key.ORDER ? order : 0) + "\t" + toward;
        }
    }

    // --- conditions ----------------------------------------------------------------------------------------------------

    static boolean entered(Action a) {
        return a.kind.equals("ENTERED");
    }

    static boolean withdrawn(Action a) {
        return a.kind.equals("CANCELLED") && a.left == 0;
    }

    static boolean executed(Action a) {
        return a.kind.equals("EXECUTED");
    }

    static boolean tradedHigher(Action a) {
        return a.kind.equals("TRADED") && a.price > a.last;
    }

    static boolean closed(Action a) {
        return a.kind.equals("MARKET_CLOSED");
    }

    static boolean ownExecuted(Action a) {
        return executed(a) && a.side == a.toward;
    }

    static boolean oppositeExecuted(Action a) {
        return executed(a) && a.side == -a.toward;
    }

    /** Taken at a price beyond the last one, seen from a taker of the side. */
    static boolean lifts(Action a) {
        return oppositeExecuted(a) && a.last > 0 && (a.toward > 0 ? a.price > a.last : a.price < a.last);
    }

    static boolean lowers(Action a) {
        return ownExecuted(a) && a.last > 0 && (a.toward > 0 ? a.price < a.last : a.price > a.last);
    }

    static boolean away(Action a) {
        return a.side == a.toward && (a.toward > 0 ? a.price < a.near : a.price > a.near);
    }

    static boolean largeAway(Action a) {
        return away(a) && a.qty >= 1_000 && a.qty >= 4 * a.nearSize;
    }

    static boolean largerThanTouch(Action a) {
        return a.qty > a.nearSize + a.oppositeSize / 2;
    }

    static SimpleCondition<Action> is(FilterFunction<Action> fits) {
        return SimpleCondition.of(fits);
    }

    /** Fits, and is at most {@code ns} after the first action that the step has taken. */
    static final class Within extends IterativeCondition<Action> {
        private final String step;
        private final FilterFunction<Action> fits;
        private final long ns;

        Within(String step, long ns, FilterFunction<Action> fits) {
            this.step = step;
            this.fits = fits;
            this.ns = ns;
        }

        @Override
        public boolean filter(Action action, Context<Action> context) throws Exception {
            if (!fits.filter(action)) return false;
            for (Action first : context.getEventsForPattern(step)) return action.clock - first.clock <= ns;
            return true;
        }
    }

    // --- patterns ------------------------------------------------------------------------------------------------------

    /**
     * {@code matters}: what the stream of the rule holds. Flink has no loop in which one kind of action is forbidden and any
     * other is passed over; where a rule needs one, all other kinds are left out of its stream and the loop is consecutive.
     *
     * <p>Flink's loop in front of a negation is forbidden the same within the loop. Where that is not meant, its turns are
     * written as steps of their own. Likewise an action that a negation forbids is lost for the step behind it, unless that
     * is the last; where a step takes such an action, the negation leaves it to the step.
     */
    record Rule(String group, String name, int way, Key by, long ns, FilterFunction<Action> matters, Pattern<Action, ?> steps) {}

    static Pattern<Action, Action> begin(String step, AfterMatchSkipStrategy skip, IterativeCondition<Action> fits) {
        return Pattern.<Action>begin(step, skip).where(fits);
    }

    static List<Rule> shipped(AfterMatchSkipStrategy skip) {
        var stuffing = begin("withdrawn", skip, is(FlinkCep::withdrawn)).times(250).consecutive();
        var layering = begin("entered", skip, new Within("entered", 5 * S, a -> entered(a) && largeAway(a))).times(3)
            .followedByAny("taken").where(is(FlinkCep::oppositeExecuted))
            .notFollowedBy("own").where(is(FlinkCep::ownExecuted))
            .followedByAny("withdrawn").where(new Within("withdrawn", 2 * S, a -> withdrawn(a) && largeAway(a))).times(3);
        var ignition = begin("lifts", skip, new Within("lifts", 2 * S, FlinkCep::lifts)).times(8).consecutive()
            .followedByAny("lowers").where(new Within("lowers", 2 * S, FlinkCep::lowers)).times(4);
        var marking = begin("lifts", skip, new Within("lifts", 10 * S, FlinkCep::lifts)).times(5).consecutive()
            .notFollowedBy("own").where(is(FlinkCep::ownExecuted))
            .followedByAny("closed").where(is(FlinkCep::closed));
        return List.of(
            new Rule("shipped", "QUOTE_STUFFING", 0, Key.INSTRUMENT, S, a -> withdrawn(a) || executed(a), stuffing),
            new Rule("shipped", "LAYERING", 0, Key.SIDE, 10 * S, a -> true, layering),
            new Rule("shipped", "IGNITION", 0, Key.SIDE, 10 * S, a -> lifts(a) || ownExecuted(a), ignition),
            new Rule("shipped", "MARKING_CLOSE", 0, Key.SIDE, 30 * S, a -> lifts(a) || ownExecuted(a) || closed(a), marking));
    }

    static List<Rule> ofTests(AfterMatchSkipStrategy skip) {
        var turned = begin("first", skip, is(FlinkCep::entered))
            .followedByAny("second").where(new Within("first", 2 * S, FlinkCep::entered))
            .followedByAny("third").where(new Within("first", 2 * S, FlinkCep::entered))
            .notFollowedBy("executed").where(is(FlinkCep::executed))
            .followedByAny("withdrawn").where(is(FlinkCep::withdrawn));
        var same = begin("entered", skip, is(FlinkCep::entered)).followedByAny("withdrawn").where(is(FlinkCep::withdrawn));
        var between = begin("traded", skip, is(FlinkCep::tradedHigher))
            .notFollowedBy("executed").where(is(FlinkCep::executed))
            .followedByAny("first").where(is(FlinkCep::withdrawn)).followedByAny("second").where(is(FlinkCep::withdrawn))
            .notFollowedBy("entered").where(is(FlinkCep::entered))
            .followedByAny("end").where(is(FlinkCep::executed));
        List<Rule> rules = new ArrayList<>(List.of(
            new Rule("tests", "TURNED", 0, Key.INSTRUMENT, 62 * S, a -> true, turned),
            new Rule("tests", "SAME_ORDER", 0, Key.ORDER, 62 * S, a -> true, same),
            new Rule("tests", "BETWEEN", 0, Key.INSTRUMENT, 62 * S, a -> true, between)));
        for (FilterFunction<Action> taken : List.<FilterFunction<Action>>of(FlinkCep::tradedHigher, FlinkCep::executed)) {
            var first = begin("taken", skip, is(taken));
            var without = first.notFollowedBy("entered").where(is(FlinkCep::entered));
            var with = first.notFollowedBy("entered").where(is(a -> entered(a) && !largerThanTouch(a)))
                .followedByAny("large").where(is(FlinkCep::largerThanTouch));
            for (var before : List.of(without, with)) {
                var either = before.followedByAny("away").where(is(FlinkCep::away));
                rules.add(new Rule("tests", "EITHER", rules.size() - 3, Key.SIDE, 62 * S, a -> true, either));
            }
        }
        return rules;
    }

    // --- the job -------------------------------------------------------------------------------------------------------

    static void load(Path file) throws IOException {
        for (String line : Files.readAllLines(file)) {
            Action action = Action.read(line);
            ACTIONS.add(action);
            if (action.instrument >= 0) {
                INSTRUMENTS.computeIfAbsent(action.trial, trial -> new TreeSet<>()).add(action.instrument);
            }
        }
    }

    /** The action once for each key that sees it and to which it matters; one of the whole market is seen by every instrument. */
    static void deal(Key by, FilterFunction<Action> matters, Action action, Collector<Action> out) throws Exception {
        if (by == Key.ORDER && action.order == 0) return;
        Set<Integer> seeing = action.instrument < 0 ? INSTRUMENTS.get(action.trial) : Set.of(action.instrument);
        for (int instrument : seeing) {
            for (int toward : by == Key.SIDE ? new int[] {1, -1} : new int[] {0}) {
                Action seen = action.seenBy(instrument, toward);
                if (matters.filter(seen)) out.collect(seen);
            }
        }
    }

    static final class Tell extends PatternProcessFunction<Action, String> {
        private final String name;
        private final Key by;

        Tell(String name, Key by) {
            this.name = name;
            this.by = by;
        }

        @Override
        public void processMatch(Map<String, List<Action>> match, Context context, Collector<String> out) {
            Action first = null;
            Action last = null;
            for (List<Action> taken : match.values()) {
                for (Action action : taken) {
                    if (first == null || action.at < first.at) first = action;
                    if (last == null || action.at > last.at) last = action;
                }
            }
            out.collect(name + "\t" + last.key(by) + "\t" + last.at + "\t" + first.at);
        }
    }

    static DataStream<String> matches(DataStream<Action> actions, String skip, Rule rule) {
        var pattern = rule.steps.within(Duration.ofMillis(rule.ns + 1));
        String group = rule.group;
        Key by = rule.by;
        FilterFunction<Action> matters = rule.matters;
        DataStream<Action> dealt = actions
            .filter(action -> action.group.equals(group))
            .<Action>flatMap((action, out) -> deal(by, matters, action, out)).returns(Action.class)
            .assignTimestampsAndWatermarks(
                WatermarkStrategy.<Action>noWatermarks().withTimestampAssigner((action, before) -> action.clock));
        return CEP.pattern(dealt.keyBy(action -> action.key(by), Types.STRING), pattern).inEventTime()
            .process(new Tell(skip + "\t" + rule.name + "\t" + rule.way, by), Types.STRING).name(rule.name + " " + skip);
    }

    public static void main(String[] arguments) throws Exception {
        load(Path.of(Meter.options(arguments).get("actions")));
        var environment = StreamExecutionEnvironment.createLocalEnvironment(1);
        DataStream<Action> actions = environment.fromSequence(0, ACTIONS.size() - 1)
            .map(at -> ACTIONS.get(at.intValue())).returns(Action.class);
        List<DataStream<String>> told = new ArrayList<>();
        Map<String, AfterMatchSkipStrategy> strategies = Map.of(
            "NONE", AfterMatchSkipStrategy.noSkip(), "PAST_LAST_EVENT", AfterMatchSkipStrategy.skipPastLastEvent());
        for (var strategy : strategies.entrySet()) {
            List<Rule> rules = new ArrayList<>(shipped(strategy.getValue()));
            rules.addAll(ofTests(strategy.getValue()));
            for (Rule rule : rules) told.add(matches(actions, strategy.getKey(), rule));
        }
        Map<String, Integer> latest = new TreeMap<>();
        DataStream<String> all = told.get(0);
        for (DataStream<String> more : told.subList(1, told.size())) all = all.union(more);
        try (CloseableIterator<String> rows = all.executeAndCollect("patterns")) {
            while (rows.hasNext()) {
                String row = rows.next();
                int cut = row.lastIndexOf('\t');
                latest.merge(row.substring(0, cut), Integer.parseInt(row.substring(cut + 1)), Math::max);
            }
        }
        latest.forEach((match, begin) -> System.out.println("MATCH\t" + match + "\t" + begin));
    }
}
