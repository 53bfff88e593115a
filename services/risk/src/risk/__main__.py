"""``python -m risk worker``: the risk service, by Faust's command line; ``… warm`` compiles its kernels."""

import sys

from streams.process.allocator import keep_freed_memory
from streams.process.replica import as_replica

from risk.app import build
from risk.settings import RiskSettings
from risk.warm import warm

if __name__ == "__main__":
    warm()  # before the loop runs: compiling in it would cost the worker its place in the group
    if sys.argv[1:] != ["warm"]:
        keep_freed_memory()
        build(as_replica(RiskSettings(), "risk")).main()
