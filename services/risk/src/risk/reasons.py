"""Prints the table of denials, of the checks that ``TIDEMARK_CHECKS`` names too.

    python -m risk.reasons [services/risk/README.md]

With the path of a README the table of the gate's own checks is written into it.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from common.checks.check import Check
from common.checks.gate import CHECKS
from common.checks.installed import gate_of
from common.checks.reasons import denial_table

from risk.settings import RiskSettings

BEGIN: Final = "<!-- denials -->\n"
END: Final = "\n<!-- end of denials -->"


def with_table(text: str, checks: Sequence[Check] = CHECKS) -> str:
    """The text with the table between its marks. Raises ValueError where it has no marks."""
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"no place for the table: {BEGIN.strip()} and {END.strip()} mark it")
    return f"{before}{BEGIN}{denial_table(checks)}{end}{after}"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        readme = Path(sys.argv[1])
        readme.write_text(with_table(readme.read_text("utf-8")), "utf-8")
    else:
        sys.stdout.write(denial_table(gate_of(RiskSettings().checks).checks) + "\n")
