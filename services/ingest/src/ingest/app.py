"""The ingest worker: one feed into ``md.ticks`` and ``ref.instruments``."""

from common.contracts.topics import INGEST_FEED_CHANGELOG, MD_TICKS, REF_INSTRUMENTS
from common.fleet_app import TidemarkApp

from ingest.feed import Feed
from ingest.settings import IngestSettings

SERVICE = "ingest"
SOURCE = "feed"
OUTPUTS = (MD_TICKS, REF_INSTRUMENTS)


def build(settings: IngestSettings) -> TidemarkApp:
    """The worker. With feed=idle it has no source, and leaves the feed to ``tidemark replay``."""
    app = TidemarkApp(SERVICE, settings)
    if settings.feed != "idle":
        feed = Feed(settings)
        app.health.add("feed session", feed.ready)
        app.source(name=SOURCE, outputs=OUTPUTS, changelog=INGEST_FEED_CHANGELOG)(feed.run)
    return app
