"""``python -m push``: one push process. ``worker`` may follow, as with the other services."""

import argparse

import uvloop
from streams.process.logs import configure_logs
from streams.process.start import starting
from streams.process.telemetry import configure_telemetry

from push.process import run
from push.settings import PushSettings


def main() -> None:
    """Reads the settings from the environment and runs."""
    parser = argparse.ArgumentParser(prog="push", description="Snapshots and deltas over WebSocket, and the dashboard.")
    parser.add_argument("command", nargs="?", choices=["worker"], default="worker")
    parser.parse_args()
    with starting("push", PushSettings):
        settings = PushSettings()
    configure_logs("push", settings.log_level)
    configure_telemetry("push", settings)
    uvloop.run(run(settings))


if __name__ == "__main__":
    main()
