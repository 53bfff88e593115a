import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.ResultKind;
import org.apache.flink.table.api.TableEnvironment;
import org.apache.flink.table.api.TableResult;
import org.apache.flink.types.Row;
import org.apache.flink.util.CloseableIterator;

/**
 * Carries out a file of SQL, in batch mode on Flink's local mini-cluster: to the end of what the log holds now.
 *
 * <p>A statement ends with a semicolon at the end of a line. Of each that has rows its number is printed, counted from 0
 * among those, then a row a line, columns parted by tabs.
 */
public final class FlinkSql {
    private FlinkSql() {}

    public static void main(String[] arguments) throws IOException, Exception {
        TableEnvironment tables = TableEnvironment.create(EnvironmentSettings.inBatchMode());
        tables.getConfig().set("parallelism.default", "1");
        int answers = 0;
        for (String statement : Files.readString(Path.of(arguments[0])).split(";\\s*(\\n|$)")) {
            if (statement.isBlank()) continue;
            TableResult result = tables.executeSql(statement);
            if (result.getResultKind() != ResultKind.SUCCESS_WITH_CONTENT) continue;
            System.out.println("ANSWER " + answers++);
            try (CloseableIterator<Row> rows = result.collect()) {
                while (rows.hasNext()) {
                    Row row = rows.next();
                    StringBuilder line = new StringBuilder();
                    for (int at = 0; at < row.getArity(); at++) line.append(at == 0 ? "" : "\t").append(row.getField(at));
                    System.out.println(line);
                }
            }
        }
    }
}
