"""``python -m ingest worker``."""

from streams.process.start import starting

from ingest.app import build
from ingest.settings import IngestSettings

if __name__ == "__main__":
    with starting("ingest", IngestSettings):
        app = build(IngestSettings())
    app.main()
