"""``python -m signals worker``: the signals service, by Faust's command line; ``… warm`` compiles its kernels."""

import sys

from streams.process.replica import as_replica
from streams.process.start import starting

from signals.app import build
from signals.installed import installed_measures, installed_patterns
from signals.settings import SignalsSettings
from signals.warm import warm

if __name__ == "__main__":
    with starting("signals", SignalsSettings):
        settings = SignalsSettings()
    # Before the loop runs: compiling in it would cost the worker its place in the group.
    warm(installed_measures(settings.measures), installed_patterns(settings.patterns))
    if sys.argv[1:] != ["warm"]:
        with starting("signals", SignalsSettings):
            app = build(as_replica(settings, "signals"))
        app.main()
