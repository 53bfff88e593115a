"""Metrics of the gate."""

from prometheus_client import Counter, Gauge

BREAKS_OPEN = Gauge(
    "tidemark_risk_breaks_open", "Execution reports that were refused and wait for a person", ("partition", "reason")
)
DENIALS = Counter(
    "tidemark_risk_denials_total",
    "Orders that a check of the gate denied; counted anew in a batch that is tried again",
    ("check", "reason"),
)
WARNINGS = Counter(
    "tidemark_risk_limit_warnings_total",
    "Levels of limits that accounts have passed; counted anew in a batch that is tried again",
    ("limit", "percent"),
)
BREAKS = Counter("tidemark_risk_breaks_total", "Execution reports that were refused", ("reason",))
