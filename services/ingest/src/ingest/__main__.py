"""``python -m ingest worker``."""

from ingest.app import build
from ingest.settings import IngestSettings

if __name__ == "__main__":
    build(IngestSettings()).main()
