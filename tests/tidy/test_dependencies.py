"""What services are installed with: under licences that we may hand on, and at no version with a fault known to us.

``make audit`` asks a database of faults, where there is a network; this list is for where there is none.
"""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

import pytest
from packaging.version import Version
from tidemark.releases.building import find_uv

ROOT = Path(__file__).parents[2]
LICENCES = frozenset({
    "0BSD", "3-Clause BSD License", "Apache Software License", "Apache-2.0", "BSD License", "BSD-2-Clause",
    "BSD-3-Clause", "CC0-1.0", "ISC License", "ISCL", "LLVM-exception", "MIT", "MIT License", "MIT-0", "MPL-2.0",
    "Mozilla Public License 2.0", "MPL 2.0", "PSF-2.0", "Python Software Foundation License", "Repoze Public License",
    "Unlicense", "Zlib",
})  # fmt: skip
"""As packages name them: those that ask for no more than to be named, and, by file, for the source of changes to it."""
ELSEWHERE = frozenset({"colorama", "pywin32"})
"""Packages that are installed on Windows alone."""
FIRST_SOUND: Mapping[str, tuple[str, str]] = {
    "aiohttp": ("3.13.3", "CVE-2025-69223"),
    "certifi": ("2024.7.4", "CVE-2024-39689"),
    "cryptography": ("44.0.1", "CVE-2024-12797"),
    "h11": ("0.16.0", "CVE-2025-43859"),
    "idna": ("3.7", "CVE-2024-3651"),
    "joserfc": ("1.4.2", "CVE-2025-65015"),
    "orjson": ("3.9.15", "CVE-2024-27454"),
    "protobuf": ("6.31.1", "CVE-2025-4565"),
    "pyarrow": ("14.0.1", "CVE-2023-47248"),
    "redis": ("4.5.4", "CVE-2023-28859"),
    "requests": ("2.32.4", "CVE-2024-47081"),
    "setuptools": ("78.1.1", "CVE-2025-47273"),
    "starlette": ("0.49.1", "CVE-2025-62727"),
    "urllib3": ("2.6.0", "CVE-2025-66418"),
    "websockets": ("9.1", "CVE-2021-33880"),
}
"""Package → version from which on a published fault is mended, and the fault."""


@pytest.fixture(scope="module")
def locked() -> list[tuple[str, str]]:
    """Name and version of everything of others that any of our packages is installed with; a name may come twice."""
    command = [find_uv(ROOT), "export", "--quiet", "--frozen", "--no-dev", "--all-packages", "--all-extras"]
    command += ["--no-group", "examples", "--format", "cyclonedx1.5"]
    made = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    found = [(each["name"], each["version"]) for each in json.loads(made)["components"] if "purl" in each]
    assert len(found) > 50
    return found


def licences(package: str) -> Iterator[str]:
    """Each licence of an expression or of the classifiers; the field of old where there is neither."""
    said = metadata(package)
    given = [said["License-Expression"]] if said["License-Expression"] else []
    given = given or [each for each in said.get_all("Classifier", []) if each.startswith("License ::")]
    for text in given or [said["License"] or "none"]:
        words = re.split(r" (?:AND|OR|WITH) |[()]", text.rpartition(" :: ")[2])
        yield from filter(None, map(str.strip, words))


def test_packages_then_their_licences_are_among_those_that_may_be_handed_on(locked: list[tuple[str, str]]) -> None:
    wrong, absent = {}, set()
    for name, _ in locked:
        try:
            if others := set(licences(name)) - LICENCES:
                wrong[name] = others
        except PackageNotFoundError:
            absent.add(name)
    assert not wrong
    assert absent <= ELSEWHERE


def test_packages_then_none_is_of_a_version_with_a_known_fault(locked: list[tuple[str, str]]) -> None:
    bad = [
        f"{name} {version}: {fault}, mended in {sound}"
        for name, version in locked
        for sound, fault in [FIRST_SOUND.get(name, (version, ""))]
        if Version(version) < Version(sound)
    ]
    assert not bad
    assert set(FIRST_SOUND) <= {name for name, _ in locked}, "what is no longer installed goes from the list"
