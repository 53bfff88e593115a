"""Makes a release of one service, or of several that can only come together.

    make release SERVICE=risk
    make release SERVICE=risk VERSION=0.4.0
    make release SERVICE="risk orders" ARGS=--check

First it is held to the releases on file; nothing is written where it is refused. Then come the wheels with their bill
of materials, the changelog's entry, the manifest, ``docs/releases.md``, and the image where there is an engine. All of
it may be run again.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from common.contracts import schemas
from common.contracts.schemas import Contract

from tidemark import row_layouts
from tidemark.releases import page
from tidemark.releases.building import build_image, build_wheels, no_engine, write_bill
from tidemark.releases.declared import SERVICES, current
from tidemark.releases.files import raise_version, with_entry
from tidemark.releases.manifest import FOLDER, ROOT, Manifest, ReleaseError, document_of, folder_of, order_of, released
from tidemark.releases.matrix import broken, changes, lost_state, misfits

OUT: Final = ROOT / "dist"
BILL: Final = ".cdx.json"
"""End of a bill of materials' name, as CycloneDX recommends it."""


def refusals(coming: Manifest, on_file: Sequence[Manifest], known: Mapping[str, Contract]) -> tuple[str, ...]:
    """Why this release may not follow those on file. Raises ReleaseError where git lacks what was released."""
    same = next((one for one in on_file if one.version == coming.version), None)
    if same is not None:
        found = changes(same, coming)
        advice = f"{coming.service} {coming.version} is released, so a change needs a higher VERSION"
        return (advice, *found) if found else ()
    newer = [one.version for one in on_file if order_of(one.version) > order_of(coming.version)]
    if newer:
        return (f"{coming.service} {coming.version} is older than {newer[-1]}, which is released",)
    if not on_file:
        return ()
    return (*broken(on_file[-1], coming, known, document_of), *lost_state(on_file[-1], coming))


def check(services: Sequence[str], version: str = "") -> list[Manifest]:
    """The manifests of the services, under another version if one is given, held to all releases on file.

    Raises ReleaseError.
    """
    known = {contract.name: contract for contract in (*schemas.contracts(), *row_layouts.contracts())}
    unwritten = [
        contract.file_name
        for contract in known.values()
        if schemas.recorded_versions(contract.name).get(contract.version) != contract.document
    ]
    if unwritten:
        raise ReleaseError(f"contracts are not on file as they are now, make schemas: {', '.join(unwritten)}")
    now = {one.service: one for one in current()}
    coming = [replace(now[service], version=version or now[service].version) for service in services]
    staying = [(released(service) or [one])[-1] for service, one in now.items() if service not in services]
    found = [reason for one in coming for reason in refusals(one, released(one.service), known)]
    found += [f"{reason}: release that first, or both together" for reason in misfits(coming, staying)]
    if found:
        raise ReleaseError("refused:\n  " + "\n  ".join(found))
    return coming


def release(one: Manifest, day: str) -> None:
    """Builds and records one service. Raises ReleaseError."""
    folder = folder_of(one.service)
    changelog = folder / "CHANGELOG.md"
    entered = with_entry(changelog.read_text("utf-8"), one.version, day)
    out = OUT / f"{one.service}-{one.version}"
    for wheel in build_wheels(ROOT, f"tidemark-{folder.name}", out):
        _say(f"built {wheel.relative_to(ROOT)}")
    bill = out / f"{out.name}{BILL}"
    write_bill(ROOT, f"tidemark-{folder.name}", bill)
    _say(f"wrote {bill.relative_to(ROOT)}")
    changelog.write_text(entered, "utf-8")
    (folder / FOLDER).mkdir(exist_ok=True)
    (folder / FOLDER / one.file_name).write_text(one.text(), "utf-8")
    page.write()
    _say(f"recorded {Path(folder / FOLDER / one.file_name).relative_to(ROOT)}, the changelog and docs/releases.md")
    if reason := no_engine():
        _say(f"image skipped: {reason}")
    else:
        _say(f"built {build_image(ROOT, one.service, one.version)}")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status is 1 where the release is refused or cannot be built."""
    parser = argparse.ArgumentParser(prog="make release", description=__doc__.partition("\n")[0])
    parser.add_argument("services", nargs="+", choices=SERVICES)
    parser.add_argument(
        "--version", default="", help="raise to this version first; default: what the project file says"
    )
    parser.add_argument("--check", action="store_true", help="only say whether it would be refused")
    options = parser.parse_args(arguments)
    try:
        coming = check(options.services, options.version)
        _say("fits: " + ", ".join(f"{one.service} {one.version}" for one in coming))
        for one in [] if options.check else coming:
            raise_version(ROOT, one.service, one.version)
            release(one, datetime.now(UTC).date().isoformat())
    except ReleaseError as refusal:
        sys.stderr.write(f"{refusal}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
