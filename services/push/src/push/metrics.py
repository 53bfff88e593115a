"""Metrics of push."""

from prometheus_client import Counter, Gauge

ENVELOPES = Counter("tidemark_push_envelopes_total", "Changes received from Redis", ("view",))
MALFORMED = Counter("tidemark_push_malformed_envelopes_total", "Changes and rows that could not be decoded")
GAPS = Gauge("tidemark_push_gaps_total", "Scopes read again because a change was missing")
READS = Counter("tidemark_push_reads_total", "Hashes read from Redis")
REDIS_UP = Gauge("tidemark_push_redis_up", "1 while the channels' connection stands")
REDIS_LOST = Counter("tidemark_push_redis_lost_total", "Connections to Redis lost or refused")
CLIENTS = Gauge("tidemark_push_clients_count", "Connected clients")
CHANNELS = Gauge("tidemark_push_channels_count", "Open channels and patterns")
FRAMES = Counter("tidemark_push_frames_total", "Frames sent")
ROWS = Counter("tidemark_push_rows_total", "Rows sent, in snapshots and frames")
SENT_BYTES = Counter("tidemark_push_sent_bytes_total", "Bytes of messages sent")
DROPPED = Counter("tidemark_push_clients_dropped_total", "Clients dropped", ("cause",))
OVERFLOWS = Counter("tidemark_push_queue_overflows_total", "Topics of a client begun anew because its queue was full")
REFUSED = Counter("tidemark_push_commands_refused_total", "Messages of clients that were refused")
TURNED_AWAY = Counter("tidemark_push_clients_refused_total", "WebSocket handshakes that were refused", ("cause",))
POSTPONED = Counter("tidemark_push_snapshots_postponed_total", "Snapshots that waited for their client's share")
PAINTS_IGNORED = Counter(
    "tidemark_push_paint_samples_ignored_total", "Paint samples that were not believed", ("cause",)
)
SPANS_IGNORED = Counter("tidemark_push_latency_ignored_total", "Latencies beyond any that can be", ("path", "clock"))
VIEWS_AGE = Gauge("tidemark_push_views_age_seconds", "Age of what is shown of a writer", ("writer",))
VIEWS_CURRENT = Gauge("tidemark_push_views_current", "1 while a writer's views are complete and recent", ("writer",))
REDIS_STATE = Gauge("tidemark_push_redis_state", "1 for what Redis does with what is written to it", ("state",))
