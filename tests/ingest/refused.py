"""Messages of a feed that became no tick."""

from ingest.domain.anomalies import AnomalyKind, Report

REFUSED = (
    AnomalyKind.UNKNOWN_TYPE,
    AnomalyKind.BAD_LENGTH,
    AnomalyKind.UNKNOWN_LOCATE,
    AnomalyKind.BAD_TIMESTAMP,
    AnomalyKind.BAD_SYMBOL,
    AnomalyKind.OFF_SCALE,
)


def undecoded(report: Report) -> int:
    """Messages that became no tick."""
    return sum(report.counts[kind] for kind in REFUSED)
