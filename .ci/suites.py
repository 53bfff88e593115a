"""Counts the tests of each suite in JUnit files, and fails where a suite ran none.

    python3 .ci/suites.py DIRECTORY

``isolated-<service>.xml`` are the services by themselves; ``all.xml`` is the run of every test that did not pass there.
Skipped tests did not run.
"""

import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

SERVICES = ("ingest", "signals", "risk", "orders", "push", "auditor")
SUITES = ("common", "parts", "bench", "e2e", "integration", "chaos", "docs", "streams", "tidy")


def cases(file: Path) -> list[tuple[str, str]]:
    """(suite, outcome) of every test case in one file; outcome is passed, failed or skipped."""
    found = []
    for case in ET.parse(file).iter("testcase"):
        parts = case.get("classname", "").split(".")
        suite = parts[1] if parts[0] == "tests" and len(parts) > 1 else parts[0]
        kinds = {child.tag for child in case}
        outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        found.append((suite, outcome))
    return found


def main(directory: Path) -> int:
    totals: Counter[str] = Counter()
    missing = []
    runs = [("all", SUITES), *((f"isolated-{service}", (service,)) for service in SERVICES)]
    for run, suites in runs:
        file = directory / f"{run}.xml"
        counted = Counter(cases(file)) if file.exists() else Counter()
        for suite in sorted({*suites, *(name for name, _ in counted)}):
            row = {outcome: counted[suite, outcome] for outcome in ("passed", "failed", "skipped")}
            print(f"{run:18} {suite:12} " + "  ".join(f"{count:5} {outcome}" for outcome, count in row.items()))
            totals.update(row)
            if suite in suites and not row["passed"] + row["failed"]:
                missing.append(f"{run}: {suite}")
    for name in missing:
        print(f"no test ran in {name}", file=sys.stderr)
    print(f"total: {totals['passed']} passed, {totals['failed']} failed, {totals['skipped']} skipped")
    return 1 if missing or totals["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
