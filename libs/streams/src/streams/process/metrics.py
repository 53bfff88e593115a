"""Metrics of the runtime, for every stage alike."""

from prometheus_client import Counter, Gauge, Histogram

_STEPS = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15)
_TASK = ("app", "stage", "partition")

BUILD_INFO = Gauge(
    "tidemark_build_info", "Always 1; the labels say which release runs on what", ("service", "version", "python")
)
MESSAGES = Counter("tidemark_stage_messages_total", "Input records whose transaction committed", (*_TASK, "topic"))
BATCHES = Counter("tidemark_stage_batches_total", "Committed transactions", _TASK)
OUTPUTS = Counter("tidemark_stage_outputs_total", "Committed output records", _TASK)
COMMIT_SECONDS = Histogram(
    "tidemark_stage_commit_seconds", "From begin to the store's write, one batch", ("app", "stage"), buckets=_STEPS
)
REOPENS = Counter("tidemark_stage_reopens_total", "Tasks closed and opened again", ("app", "stage", "cause"))
RESTORED_ROWS = Counter("tidemark_stage_restored_rows_total", "Changelog rows restored", _TASK)
RESTORE_SECONDS = Gauge("tidemark_stage_restore_seconds", "Duration of the last restore", _TASK)
DEAD_LETTERS = Counter("tidemark_dead_letters_total", "Poison messages set aside", ("app", "stage", "topic"))
DEAD_LETTERS_SEEN = Counter("tidemark_dead_letters_seen_total", "Dead letters in the topics", ("app", "topic"))
INBOX = Gauge("tidemark_stage_inbox_records", "Input records waiting", (*_TASK, "topic"))
POSITION = Gauge("tidemark_stage_position_records", "Next offset to read, as committed", (*_TASK, "topic"))
STANDBY_LAG = Gauge("tidemark_stage_standby_lag_records", "Changelog offsets that the standby is behind", _TASK)
REFUSED = Gauge("tidemark_stage_refused", "1 while the partition stands still: its state and the log disagree", _TASK)
FENCED = Gauge("tidemark_stage_fenced", "1 while the partition stands still by a fence of the auditor", _TASK)
STORES_DISCARDED = Counter("tidemark_stage_stores_discarded_total", "Damaged stores, made anew from the log", _TASK)
GIVEN_UP = Gauge("tidemark_stage_given_up", "1 for a partition that this worker's store cannot serve", _TASK)
UNSTABLE = Gauge(
    "tidemark_unstable_records",
    "Offsets from the last stable one to the end, where a reader waits",
    ("app", "reader", "topic", "partition"),
)
BLOCKED = Gauge(
    "tidemark_blocked_seconds",
    "For how long a reader has waited for an open transaction",
    ("app", "reader", "topic", "partition"),
)
SCHEMA_AWAITED = Gauge(
    "tidemark_schema_awaited_seconds",
    "For how long a reader has waited for a schema that a record names",
    ("app", "reader", "topic", "partition"),
)
RESOLVED = Counter(
    "tidemark_framed_records_resolved_total",
    "Framed records that the general codec read: nobody compiled a reader for them, or another schema wrote them",
    ("topic",),
)
STRANGERS = Gauge("tidemark_group_strangers", "Members of the stage's group that are no workers", ("app", "stage"))
GROUP_TROUBLE = Gauge("tidemark_group_trouble", "1 while the group's assignment cannot be relied on", ("app", "stage"))
TOPIC_DRIFT = Gauge(
    "tidemark_topic_drift",
    "1 where a topic is not as the topic table says",
    ("app", "stage", "topic", "setting", "kind"),
)
OWNED = Gauge("tidemark_stage_owned", "1 while this process serves the partition", _TASK)
VIEWS = Counter("tidemark_views_published_total", "Envelopes written to Redis", ("app",))
VIEWS_LOST = Counter("tidemark_views_dropped_total", "Envelopes dropped; a refill follows", ("app",))
VIEWS_AGE = Gauge("tidemark_views_age_seconds", "Age of the newest state that is wholly in Redis", _TASK)
VIEWS_DATA_AGE = Gauge("tidemark_views_data_age_seconds", "Age of the newest input record that is in Redis", _TASK)
VIEWS_FILLING = Gauge("tidemark_views_filling", "1 while not every row of the partition is in Redis", _TASK)
VIEWS_REFILLS = Counter("tidemark_views_refills_total", "Views of a partition written anew", ("app", "cause"))
VIEWS_LOST_SCOPES = Counter("tidemark_views_lost_scopes_total", "Hashes that lost rows in Redis", ("app",))
VIEWS_REDIS = Gauge("tidemark_views_redis_state", "1 for what Redis does with written views", ("app", "state"))
