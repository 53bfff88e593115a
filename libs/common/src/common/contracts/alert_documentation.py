"""Writes ``docs/alerts.md`` from the table of market alerts.

uv run python -m common.contracts.alert_documentation
"""

import sys
from pathlib import Path
from typing import Final

from common.contracts.alerts import (
    ALERT_RULES,
    ALERTS_VERSION,
    BASELINE_NS,
    DEVIATION_SHARE_MIN,
    PATTERN_NUMBERS,
    AlertLimits,
    AlertRule,
)
from common.contracts.windows import NS

PAGE: Final = Path(__file__).parents[5] / "docs" / "alerts.md"

_HEAD: Final = """# Market alerts

Generated from `libs/common/src/common/contracts/alerts.py` by `make schemas`; a test keeps it current.
Version {version} of the table.

Each symbol is judged at the end of every second of its partition's clock, from what is known by then, and compared with
its baseline: the {baseline} seconds before, without the second itself. Where the baseline has fewer than {samples}
seconds with a trade (for the spread: with a spread), nothing is judged. What comes late, or is broken afterwards,
changes bars, and no baseline.

An alert is one episode. It begins where the number is above its threshold, and ends once it has not been above the
exit, 4/5 of the threshold, for {hold} s. A state of the book lasts until a message ends it, a silence until the next
message. `md.alerts` has a row when it begins, when its severity rises, and when it ends; each has the peak so far and
the numbers that were compared there. The start of a session ends all.

`TIDEMARK_ALERT_THRESHOLDS`, `TIDEMARK_ALERT_SAMPLES_MIN` and `TIDEMARK_ALERT_HOLD_S` set other numbers.
With `TIDEMARK_HALT_ON_ALERTS=true` at risk, an alert that begins or becomes CRITICAL requests the halt of its symbol
for all accounts ([ADR 0062](adr/0062-a-critical-alert-requests-a-halt.md)): the gate decides the request like
anybody's, and a person resumes (`tidemark controls state ACTIVE --symbol …`).
`tidemark replay --offline --alerts` writes the same rows into a table. Why it is so:
[ADR 0060](adr/0060-alerts-are-judged-by-the-second.md).

| kind | compared | above | severity | high from | critical from | numbers |
|---|---|---:|---|---:|---:|---|
"""

_FOOT: Final = """
A standard deviation of less than {share:g} of the mean counts as that. Silence shorter than {silence} s is never
stale. It is told of symbols that had messages in more seconds than a baseline needs, while they trade: not halted,
paused or in quotation only, and not after the market's hours (S with M, E or C). The mean time between seconds with a
message follows the newest 32 or so. An empty side has no spread. A logarithmic return counts as at most 1.

## Patterns

Beside these kinds, `md.alerts` has those of the patterns of orders that `TIDEMARK_PATTERNS` names to signals: shipped
ones, which the README of the service lists, or those of other packages ([guide](guides/add-a-pattern.md)). A pattern is
judged at each action of an order. Its alert begins when it has matched, and ends when it has not for the hold;
`peak_ppm` is how often it has matched in between. Its rows have the numbers {numbers}:
price and shares of the newest action, and the mean time between the actions of the newest match; `samples` is how many
actions it takes, `version` the pattern's own.
"""


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _row(rule: AlertRule) -> str:
    numbers = ", ".join(f"`{name}`" for name in rule.numbers)
    cells = (
        *(f"`{rule.kind}`", rule.compared, _number(rule.threshold), rule.severity.name),
        *(_number(rule.high), _number(rule.critical), numbers),
    )
    return f"| {' | '.join(cells)} |\n"


def page() -> str:
    """The documentation."""
    limits = AlertLimits()
    head = _HEAD.format(
        version=ALERTS_VERSION,
        baseline=BASELINE_NS // NS,
        samples=limits.samples_min,
        hold=f"{limits.hold_ns / NS:g}",
    )
    numbers = ", ".join(f"`{name}`" for name in PATTERN_NUMBERS)
    foot = _FOOT.format(share=DEVIATION_SHARE_MIN, silence=f"{limits.silence_min_ns / NS:g}", numbers=numbers)
    return head + "".join(_row(rule) for rule in ALERT_RULES) + foot


def main() -> int:
    PAGE.write_text(page(), "utf-8")
    sys.stdout.write(f"wrote {PAGE.name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
