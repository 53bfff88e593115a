"""Releases of single services: what is refused, what fits, and what a release writes and builds."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from common.contracts.schemas import Contract
from common.contracts.topics import RISK_CONTROL_COMMANDS, TOPICS
from tidemark.releases.__main__ import refusals
from tidemark.releases.building import members, write_bill
from tidemark.releases.declared import apps, current
from tidemark.releases.files import raise_version, with_entry
from tidemark.releases.manifest import Manifest, ReleaseError, blob_id, document_of, released
from tidemark.releases.matrix import broken, changes, lost_state, misfits, side_by_side
from tidemark.row_layouts import contracts as row_contracts

ROOT = Path(__file__).parents[2]
GATE = next(contract for contract in row_contracts() if contract.name == "rows-risk.gate")
RISK = Manifest("risk", "0.2.0", {"order-intent": (1,), "rows-risk.gate": (1,)}, {"answer": 2, "rows-risk.gate": 1}, {})
NAME = f"{GATE.name}.v{GATE.version}"
ORDERS = Manifest("orders", "0.2.0", {"answer": (1, 2)}, {"order-intent": 1}, {})


def later(manifest: Manifest, **differences: Any) -> Manifest:
    return replace(manifest, version="0.3.0", **differences)


def test_writer_when_its_version_is_raised_then_readers_are_released_first() -> None:
    assert misfits([later(RISK)], [ORDERS]) == ()
    raised = later(RISK, writes={"answer": 3})
    assert misfits([raised], [ORDERS]) == ("risk 0.3.0 writes answer v3, orders 0.2.0 reads v1 to v2",)
    reader = later(ORDERS, reads={"answer": (1, 2, 3)})
    assert misfits([reader], [RISK]) == ()
    assert misfits([raised], [reader]) == ()


def test_reader_when_it_drops_a_version_that_is_still_written_then_misfit() -> None:
    assert misfits([later(ORDERS, reads={"answer": (3,)})], [RISK]) == (
        "risk 0.2.0 writes answer v2, orders 0.3.0 reads v3",
    )


def test_two_that_need_each_other_then_they_fit_only_together() -> None:
    risk = later(RISK, reads={"order-intent": (1, 2)}, writes={"answer": 3})
    orders = later(ORDERS, reads={"answer": (1, 2, 3)}, writes={"order-intent": 2})
    assert misfits([risk], [ORDERS])
    assert misfits([orders], [RISK])
    assert misfits([risk, orders], []) == ()


def test_release_when_it_changes_under_its_version_then_refused_and_says_what() -> None:
    assert changes(RISK, RISK) == ()
    assert changes(RISK, replace(RISK, writes={"answer": 3}, contracts={"answer.v3": "a"})) == (
        "writes answer v3, was v2",
        "writes rows-risk.gate nothing, was v1",
        "answer.v3.json is not as it was",
    )
    (first, *_) = refusals(replace(RISK, writes={"answer": 3}), [RISK], {})
    assert first == "risk 0.2.0 is released, so a change needs a higher VERSION"
    assert refusals(replace(RISK, version="0.1.9"), [RISK], {}) == (
        "risk 0.1.9 is older than 0.2.0, which is released",
    )


def test_store_that_another_service_reads_when_its_rows_are_raised_then_that_reader_is_released_first() -> None:
    auditor = Manifest("auditor", "0.2.0", {"rows-risk.gate": (1,)}, {}, {})
    raised = later(RISK, reads={"rows-risk.gate": (1, 2)}, writes={"rows-risk.gate": 2})
    assert misfits([raised], [auditor]) == ("risk 0.3.0 writes rows-risk.gate v2, auditor 0.2.0 reads v1",)


def test_rows_when_raised_without_a_migration_then_refused() -> None:
    writes = {"rows-risk.gate": 2}
    assert lost_state(RISK, later(RISK, writes=writes, reads={"rows-risk.gate": (1, 2)})) == ()
    (reason,) = lost_state(RISK, later(RISK, writes=writes, reads={"rows-risk.gate": (2,)}))
    assert reason == "risk 0.3.0 cannot read rows-risk.gate v1, which 0.2.0 writes: add a migration"


def test_rows_when_changed_under_their_version_then_refused_whatever_the_file_says_now() -> None:
    before = replace(RISK, contracts={NAME: "released"})
    now = later(RISK, contracts={NAME: "other"})
    appended = {"name": "x", "type": {"type": "int"}}
    accounts = {**GATE.document["accounts"], "fields": [*GATE.document["accounts"]["fields"], appended]}
    with_field = replace(GATE, document={**GATE.document, "accounts": accounts})

    def reasons(contract: Contract) -> tuple[str, ...]:
        return broken(before, now, {contract.name: contract}, {"released": GATE.document}.__getitem__)

    assert reasons(GATE) == ()
    assert reasons(with_field) == (f"{NAME}: accounts: field x is new and has no default",)
    appended["default"] = "0"
    assert reasons(with_field) == ()
    assert reasons(replace(GATE, version=GATE.version + 1)) == (
        f"{NAME}.json: the file of an earlier version was changed",
    )


def test_side_by_side_when_one_cannot_read_the_other_s_rows_or_the_fleet_s_messages_then_not() -> None:
    assert side_by_side(RISK, later(RISK), [ORDERS]) == ()
    rows = later(RISK, reads={**RISK.reads, "rows-risk.gate": (1, 2)}, writes={**RISK.writes, "rows-risk.gate": 2})
    assert side_by_side(RISK, rows, [ORDERS]) == ("risk 0.2.0 cannot read rows-risk.gate v2 of 0.3.0",)
    intents = replace(ORDERS, writes={"order-intent": 2})
    assert side_by_side(RISK, later(RISK, reads={**RISK.reads, "order-intent": (1, 2)}), [intents]) == (
        "orders 0.2.0 writes order-intent v2, risk 0.2.0 reads v1",
    )


def test_outputs_of_every_stage_are_its_service_s_by_the_topic_table() -> None:
    """Holds the stages to the topic table, which a service's outputs are taken from."""
    for service, app in apps().items():
        outputs = {topic.name: topic.writers for stage in app.stages for topic in stage.outputs}
        assert all(service in writers for writers in outputs.values()), outputs


SENT_BESIDE_STAGES = {("risk", RISK_CONTROL_COMMANDS.name)}
"""Requests of halts, which are commands like anybody's: whoever asks for one sends it, and the gate decides."""


def test_service_that_the_table_lets_write_beside_an_owner_then_a_stage_of_it_does() -> None:
    stages = [(service, stage) for service, app in apps().items() for stage in app.stages]
    written = {(service, topic.name) for service, stage in stages for topic in stage.outputs}
    beside = {(service, topic.name) for topic in TOPICS for service in topic.also_written_by}
    assert beside - SENT_BESIDE_STAGES <= written


def test_current_manifests_name_what_services_really_exchange() -> None:
    now = {one.service: one for one in current()}
    assert misfits(now.values(), []) == ()
    assert {"order-intent", "risk-command", "execution-report", "layout-mark", "instrument"} <= now["risk"].reads.keys()
    assert now["orders"].reads["risk-decision"] == (1, 2, 3, 4)
    assert "view-account" in now["risk"].writes
    assert "view-account" in now["push"].reads
    assert "snapshot-signals.market" in now["signals"].writes
    assert now["risk"].writes["rows-risk.gate"] in now["auditor"].reads["rows-risk.gate"]
    assert now["auditor"].reads["columns-orders.projection"] == (now["orders"].writes["columns-orders.projection"],)
    assert all(Manifest.parse(one.text()) == one for one in now.values())


def test_released_contracts_can_be_read_again_from_history() -> None:
    for manifest in released("risk"):
        for blob in manifest.contracts.values():
            assert document_of(blob)
    with pytest.raises(ReleaseError, match="fetch the whole history"):
        document_of("0" * 40)


def test_blob_id_is_git_s() -> None:
    file = ROOT / "LICENSE"
    known = subprocess.run(["git", "hash-object", str(file)], check=True, capture_output=True, text=True).stdout
    assert blob_id(file.read_bytes()) == known.strip()


# --- files ------------------------------------------------------------------------------------------------------------

CHANGELOG = "# Changelog\n\n## [Unreleased]\n\n### Added\n\n- A thing.\n\n## [0.1.0] - 2026-01-01\n\n- First.\n"


def test_changelog_when_released_then_what_was_unreleased_stands_under_version_and_day() -> None:
    entered = with_entry(CHANGELOG, "0.2.0", "2026-02-03")
    assert entered == CHANGELOG.replace("[Unreleased]\n", "[Unreleased]\n\n## [0.2.0] - 2026-02-03\n")
    assert with_entry(entered, "0.2.0", "2026-02-04") == entered
    with pytest.raises(ReleaseError, match="says what is new"):
        with_entry(entered, "0.3.0", "2026-02-04")


def test_version_when_raised_then_in_project_lock_and_compose_or_in_none(tmp_path: Path) -> None:
    files = ("services/risk/pyproject.toml", "uv.lock", "compose/compose.yaml")
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    raise_version(tmp_path, "risk", "12.0.7")
    for name in files:
        before, after = (ROOT / name).read_text().splitlines(), (tmp_path / name).read_text().splitlines()
        (line,) = (new for old, new in zip(before, after, strict=True) if old != new)
        assert '"12.0.7"' in line
    written = [(tmp_path / name).read_text() for name in files]
    for version in ("1.0", "v1.0.0", ""):
        with pytest.raises(ReleaseError, match="is no version"):
            raise_version(tmp_path, "risk", version)
    (tmp_path / "compose/compose.yaml").write_text("services: {}\n")
    with pytest.raises(ReleaseError, match="does not say the version of risk"):
        raise_version(tmp_path, "risk", "13.0.0")
    assert [(tmp_path / name).read_text() for name in files[:2]] == written[:2]


# --- bills of materials -----------------------------------------------------------------------------------------------


def installed_by(requirements: Path) -> set[str]:
    """``name@version`` of each line."""
    return {
        f"{name}@{version}" for name, version in re.findall(r"^([\w.-]+)==([\w.]+)", requirements.read_text(), re.M)
    }


def parts_of(bill: Any) -> set[str]:
    """The same of each component of others, each with its package URL and a digest to know it again by."""
    found = [each for each in bill["components"] if not each["name"].startswith("tidemark-")]
    for each in found:
        assert each["purl"] == f"pkg:pypi/{each['name']}@{each['version']}"
        assert all(file["hashes"] for file in each["externalReferences"])
    return {f"{each['name']}@{each['version']}" for each in found}


def test_bill_of_a_package_then_everything_that_is_installed_with_it_and_nothing_of_the_tests(tmp_path: Path) -> None:
    write_bill(ROOT, "tidemark-push", tmp_path / "bill")
    bill = json.loads((tmp_path / "bill").read_text())
    lines = [*members(ROOT, "tidemark-push")]
    ours = {each["name"] for each in bill["components"] if each["name"].startswith("tidemark-")}
    assert ours | {"tidemark-push"} == {f"tidemark-{Path(line).name}" for line in lines}
    parts = {each.partition("@")[0] for each in parts_of(bill)}
    assert {"starlette", "redis", "cryptography"} <= parts
    assert not {"pytest", "hypothesis", "mypy"} & parts


# --- a whole release --------------------------------------------------------------------------------------------------


class Checkout:
    """A clone of the repository, with what is not committed here, that releases may be made in."""

    def __init__(self, path: Path) -> None:
        self.path = path
        subprocess.run(["git", "clone", "--quiet", "--shared", str(ROOT), str(path)], check=True)
        listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
        built = "services/push/dashboard/dist"
        if (ROOT / built).is_dir():
            shutil.copytree(ROOT / built, path / built)
        for name in filter(None, names):
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_file():
                shutil.copy2(ROOT / name, path / name)
        for gone in path.glob("services/*/Dockerfile"):
            gone.unlink()

    def release(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        sources = [str(source) for room in ("libs", "services", "tools") for source in self.path.glob(f"{room}/*/src")]
        bin_of_uv = str(ROOT / ".tidemark" / "uv" / "bin")
        # No engine is on the path: the image is another test's.
        path = os.pathsep.join(
            place
            for place in (*os.environ["PATH"].split(os.pathsep), bin_of_uv)
            if not (Path(place) / "docker").exists()
        )
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sources), "PATH": path}
        command = [sys.executable, "-m", "tidemark.releases", *arguments]
        return subprocess.run(
            command, cwd=self.path, env=environment, capture_output=True, text=True, check=False, timeout=240
        )

    def change(self, name: str, old: str, new: str) -> None:
        text = (self.path / name).read_text("utf-8")
        assert text.count(old) == 1
        (self.path / name).write_text(text.replace(old, new), "utf-8")


@pytest.mark.slow
def test_release_of_a_service_then_wheels_entry_manifest_and_page_and_a_changed_row_is_refused(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "checkout")
    # Each of them writes what the release before of another does not read: symbols with any published suffix.
    done = checkout.release("risk", "orders", "push", "auditor", "--version", "0.9.0")
    assert done.returncode == 0, done.stderr
    assert "image skipped: docker is not installed" in done.stdout
    out = checkout.path / "dist" / "risk-0.9.0"
    wheels = [wheel.name.partition("-")[0] for wheel in sorted(out.glob("*.whl"))]
    assert wheels == sorted(f"tidemark_{Path(member).name}" for member in members(ROOT, "tidemark-risk"))
    (wheel,) = out.glob("tidemark_risk-0.9.0-*.whl")
    assert {"risk/py.typed", "risk/app.py"} <= set(zipfile.ZipFile(wheel).namelist())
    assert "numba==" in (out / "requirements.txt").read_text()
    bill = json.loads((out / "risk-0.9.0.cdx.json").read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    assert bill["metadata"]["component"]["version"] == "0.9.0"
    assert installed_by(out / "requirements.txt") <= parts_of(bill)
    assert "\n## [0.9.0] - " in (checkout.path / "services/risk/CHANGELOG.md").read_text()
    assert released("risk", checkout.path)[-1].version == "0.9.0"
    assert "risk 0.2.0, 0.9.0" in (checkout.path / "docs/releases.md").read_text()
    assert checkout.release("risk", "--check").returncode == 0, "the same once more"

    row = "services/risk/src/risk/domain/account.py"
    checkout.change(
        row, "    reserved_cash_e4: int = 0\n    seq: int = 0\n", "    seq: int = 0\n    reserved_cash_e4: int = 0\n"
    )
    refused = checkout.release("risk", "--check")
    assert refused.returncode == 1
    assert f"make schemas: {NAME}.json" in refused.stderr
    schema = checkout.path / f"libs/common/schemas/{NAME}.json"
    schema.unlink()  # what whoever is in a hurry would do
    rewrite = "from tidemark.row_layouts import export_rows; export_rows()"
    sources = os.pathsep.join(str(source) for source in (*checkout.path.glob("*/*/src"),))
    subprocess.run([sys.executable, "-c", rewrite], env={**os.environ, "PYTHONPATH": sources}, check=True)
    assert schema.is_file()
    refused = checkout.release("risk", "--check")
    assert (refused.returncode, "a change needs a higher VERSION" in refused.stderr) == (1, True), refused.stderr
    refused = checkout.release("risk", "--check", "--version", "0.10.0")
    assert (refused.returncode, f"{NAME}: accounts" in refused.stderr) == (1, True), refused.stderr
