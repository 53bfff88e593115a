"""The ingest worker: one feed into ``md.ticks`` and ``ref.instruments``, and where it is asked to ``md.events``."""

from common.contracts.topics import INGEST_FEED_CHANGELOG, MD_EVENTS, MD_TICKS, REF_INSTRUMENTS, Topic
from common.fleet_app import TidemarkApp

from ingest.feed import Feed
from ingest.settings import IngestSettings

SERVICE = "ingest"
SOURCE = "feed"


def outputs_of(settings: IngestSettings) -> tuple[Topic, ...]:
    """Topics that the feed is written to."""
    return (MD_TICKS, REF_INSTRUMENTS, MD_EVENTS) if settings.feed.events else (MD_TICKS, REF_INSTRUMENTS)


def build(settings: IngestSettings) -> TidemarkApp:
    """The worker. With feed=idle it has no source, and leaves the feed to ``tidemark replay``."""
    app = TidemarkApp(SERVICE, settings)
    if settings.feed.kind != "idle":
        feed = Feed(settings)
        app.health.add("feed session", feed.ready)
        app.source(name=SOURCE, outputs=outputs_of(settings), changelog=INGEST_FEED_CHANGELOG)(feed.run)
    return app
