"""``python -m bench [NAME [ARGUMENTS]]``: one benchmark by name, or the standard set one after the other."""

import runpy
import sys
from pathlib import Path
from typing import Final

STANDARD: Final = ("decode", "books", "online", "orders")
HERE: Final = Path(__file__).parent
NOT_BENCHES: Final = frozenset({"__main__", "__init__", "harness"})


def names() -> list[str]:
    """Every benchmark of this directory: a module, or a directory that can be run."""
    found = {path.stem for path in HERE.glob("*.py")} | {path.parent.name for path in HERE.glob("*/__main__.py")}
    return sorted(found - NOT_BENCHES)


def run(name: str, arguments: list[str]) -> None:
    """Runs one as if it had been called by itself."""
    sys.argv = [f"bench {name}", *arguments]
    runpy.run_module(f"bench.{name}", run_name="__main__", alter_sys=False)


def main() -> None:
    arguments = sys.argv[1:]
    if arguments and arguments[0] in ("-h", "--help"):
        print(f"{__doc__}\n\nThere are: {', '.join(names())}. Standard: {', '.join(STANDARD)}.")
        return
    if arguments:
        if arguments[0] not in names():
            sys.exit(f"there is no benchmark {arguments[0]!r}; there are {', '.join(names())}")
        run(arguments[0], arguments[1:])
        return
    for name in STANDARD:
        if name in names():
            print(f"=== {name}", flush=True)
            run(name, [])


if __name__ == "__main__":
    main()
