"""The places that name a service's version, and its changelog: read and rewritten as texts."""

import re
from pathlib import Path
from typing import Final

from tidemark.releases.manifest import ReleaseError, folder_of

COMPOSE: Final = "compose/compose.yaml"
UNRELEASED: Final = "## [Unreleased]"
_VERSION: Final = r"\d+\.\d+\.\d+"


def raise_version(root: Path, service: str, version: str) -> None:
    """Writes the version of a service's package into its project file, the lock and the arguments of its image.

    Raises ReleaseError, before anything is written, for a version that is none and a file that names none.
    """
    if not re.fullmatch(_VERSION, version):
        raise ReleaseError(f"{version!r} is no version: three numbers with dots between, like 0.3.0")
    texts: dict[Path, str] = {}
    folder = folder_of(service, root)
    for path, pattern in (
        (f"{folder.relative_to(root)}/pyproject.toml", rf'^(version = "){_VERSION}(")'),
        ("uv.lock", rf'^(name = "tidemark-{folder.name}"\nversion = "){_VERSION}(")'),
        (COMPOSE, rf'^(\s+PACKAGE: {folder.name}\n\s+VERSION: "){_VERSION}(")'),
    ):
        text, count = re.subn(
            pattern, rf"\g<1>{version}\g<2>", (root / path).read_text("utf-8"), count=1, flags=re.MULTILINE
        )
        if count != 1:
            raise ReleaseError(f"{path} does not say the version of {service}")
        texts[root / path] = text
    for file, text in texts.items():
        file.write_text(text, "utf-8")


def with_entry(changelog: str, version: str, day: str) -> str:
    """A changelog (Keep a Changelog) with what is unreleased under the version. One that has the version is as it was.

    Raises ReleaseError where nothing is unreleased: whoever gets the release is to be told what is new.
    """
    if re.search(rf"^## \[{re.escape(version)}\]", changelog, re.MULTILINE):
        return changelog
    head, found, rest = changelog.partition(f"{UNRELEASED}\n")
    if not found:
        raise ReleaseError(f"the changelog has no section {UNRELEASED!r}")
    news, mark, older = rest.partition("\n## [")
    if not re.search(r"^- ", news, re.MULTILINE):
        raise ReleaseError(f"nothing is written under {UNRELEASED!r}: a release says what is new")
    return f"{head}{UNRELEASED}\n\n## [{version}] - {day}\n\n{news.strip()}\n{mark}{older}"
