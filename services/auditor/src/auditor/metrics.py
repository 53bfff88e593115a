"""Metrics that the auditor exports to Prometheus."""

from prometheus_client import Counter, Gauge, Histogram

DIVERGENCE = Gauge(
    "tidemark_auditor_ledger_divergence", "Rows and files of a store that differ from the committed log now", ["store"]
)
UNREADABLE = Gauge("tidemark_auditor_store_unreadable", "1 while a store cannot be read", ["store"])
SEQUENCE_ERRORS = Counter(
    "tidemark_auditor_sequence_errors_total", "Ledger entries out of their account's sequence, requests answered twice"
)
LEDGER_SUM = Gauge("tidemark_auditor_ledger_sum_e4", "Sum of all cash postings; 0 in a sound ledger")
BREAKS_OPEN = Gauge("tidemark_auditor_breaks_open", "Breaks on risk.breaks that nobody has resolved")
DEAD_LETTERS = Gauge(
    "tidemark_auditor_dead_letters", "Dead letters that are kept, by the topic they came from", ["topic"]
)
FILLS_OVERDUE = Gauge(
    "tidemark_auditor_fills_overdue", "Trades that are in no ledger entry and in no break, postings without a trade"
)
PROOFS = Gauge("tidemark_auditor_ledger_proofs", "Places in the ledger that prove it broken, known ones included")
FENCES = Gauge("tidemark_auditor_fences_raised", "Fences that are raised, each of a partition or of a stage")
RECORDS = Counter("tidemark_auditor_records_total", "Committed records folded")
ROWS = Counter("tidemark_auditor_rows_compared_total", "Rows of stores compared with the log")
LAG = Gauge("tidemark_auditor_lag_records", "Records between the fold and the end of the log, as of the last look")
LOOK_SECONDS = Histogram(
    "tidemark_auditor_look_seconds", "One look at every store", buckets=(0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
)
LOOKED_AT = Gauge("tidemark_auditor_last_look_timestamp_seconds", "When the last look at every store was completed")
