-- VWAP of each minute, out of the seconds' shares and money, beside what the service says of the minute.
--   tidemark sql - < examples/minute_vwap.sql
WITH minutes AS (
  SELECT symbol, window_start_ns // 60_000_000_000 * 60_000_000_000 AS window_start_ns,
    sum(notional_e4) // sum(volume) AS vwap_e4, sum(volume) AS volume
  FROM bars WHERE window_ns = 1_000_000_000 GROUP BY ALL
)
SELECT symbol, window_start_ns, minutes.volume, minutes.vwap_e4, service.vwap_e4 AS vwap_of_service_e4
FROM minutes JOIN bars AS service USING (symbol, window_start_ns)
WHERE service.window_ns = 60_000_000_000
ORDER BY symbol, window_start_ns;
