"""Kernels compiled before a fleet runs, as an image has them.

A service compiles its kernels before it takes its first record, about a minute on a machine that has none. A feed that
has an end may be over by then, and a test that strikes in its middle would find none.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


def compile_kernels(
    service: str, environment: Mapping[str, str] = os.environ, python: Path = Path(sys.executable)
) -> None:
    """Runs ``python -m SERVICE warm``, which takes no time where it has been done before.

    ``environment``: the service's own, since the measures and patterns that it names are compiled into its kernels.
    Raises CalledProcessError.
    """
    subprocess.run([str(python), "-P", "-m", service, "warm"], env=dict(environment), check=True)
