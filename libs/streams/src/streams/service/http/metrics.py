"""Metrics of every server."""

from prometheus_client import Counter, Gauge

REFUSED = Counter(
    "tidemark_http_refused_total",
    "Requests and connections refused unseen by those who would have answered them",
    ["problem"],
)
CLOSED = Counter("tidemark_http_closed_total", "Connections closed by the server", ["cause"])
CONNECTIONS = Gauge("tidemark_http_connections_count", "Open connections, upgraded ones left out")
