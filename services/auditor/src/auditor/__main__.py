"""``python -m auditor``: one auditor, set by the environment. ``worker`` may follow, as with services."""

import argparse

import uvloop
from streams.kafka.broker_watch import watch_brokers
from streams.process.logs import configure_logs
from streams.process.start import starting

from auditor.process import run
from auditor.settings import AuditorSettings


def main() -> None:
    """Reads the settings from the environment and runs."""
    parser = argparse.ArgumentParser(prog="auditor", description="Compares every store with the log.")
    parser.add_argument("command", nargs="?", choices=["worker"], default="worker")
    parser.parse_args()
    with starting("auditor", AuditorSettings):
        settings = AuditorSettings()
    configure_logs("auditor", settings.log_level)
    watch_brokers(settings.kafka.bootstrap, settings.restart.backoff_min_s, settings.restart.backoff_max_s)
    uvloop.run(run(settings))


if __name__ == "__main__":
    main()
