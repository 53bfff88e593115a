"""``python -m risk worker``: the risk service, by Faust's command line; ``… warm`` compiles its kernels."""

import sys

from common.checks.installed import CheckUnavailable, gate_of
from streams.process.allocator import keep_freed_memory
from streams.process.replica import as_replica
from streams.process.start import starting

from risk.app import build
from risk.settings import RiskSettings
from risk.warm import warm

if __name__ == "__main__":
    with starting("risk", RiskSettings):
        settings = RiskSettings()
    try:
        warm(
            gate_of(settings.checks), settings.log_format == "avro"
        )  # before the loop runs: compiling in it would cost the worker its place
    except CheckUnavailable as refusal:
        sys.exit(f"risk: {refusal}")
    if sys.argv[1:] != ["warm"]:
        keep_freed_memory()
        with starting("risk", RiskSettings):
            app = build(as_replica(settings, "risk"))
        app.main()
