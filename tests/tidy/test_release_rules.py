"""Statements on releases that stand in several places agree everywhere, and the generated page is current."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from tidemark.releases.declared import SERVICES, current, version_in_project
from tidemark.releases.files import UNRELEASED
from tidemark.releases.manifest import Manifest, folder_of, order_of, released
from tidemark.releases.page import FILE, render

ROOT = Path(__file__).parents[2]
ENTRY = re.compile(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d{2}-\d{2})$", re.MULTILINE)
FOLDERS: Mapping[str, str] = {"cli": "tidemark"}
"""Package of a tool → its folder, where that has another name."""
BUILT: Mapping[str, Any] = {
    name: service
    for name, service in yaml.safe_load((ROOT / "compose" / "compose.yaml").read_text("utf-8"))["services"].items()
    if "build" in service
}


def project(package: str) -> dict[str, Any]:
    """The project table of a package, wherever its folder is."""
    (folder,) = (
        path
        for path in (
            ROOT / "libs" / package,
            ROOT / "services" / package,
            ROOT / "tools" / FOLDERS.get(package, package),
        )
        if path.is_dir()
    )
    found: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    return found


@pytest.fixture(scope="module")
def now() -> list[Manifest]:
    return current()


def test_page_of_releases_is_current(now: list[Manifest]) -> None:
    page = render(now, {one.service: released(one.service) for one in now})
    assert page == FILE.read_text("utf-8"), "out of date: make schemas"


@pytest.mark.parametrize("name", BUILT)
def test_image_is_built_by_the_shared_recipe_with_what_the_package_says_of_itself(name: str) -> None:
    build = BUILT[name]["build"]
    assert (build["context"], build["dockerfile"]) == ("..", "Dockerfile")
    said = project(build["args"]["PACKAGE"])
    assert build["args"]["VERSION"] == said["version"]
    assert build["args"]["DESCRIPTION"] == said["description"]


NO_SERVICES: Mapping[str, str] = {"topics": "contracts", "tidemark": "cli"}
"""Other images of ours that compose runs → its image."""


def test_every_service_has_a_tag_of_its_own_and_the_topics_job_is_no_service_s() -> None:
    assert {*SERVICES, *NO_SERVICES} == BUILT.keys()
    images = {name: service["image"] for name, service in BUILT.items()}
    for name in BUILT:
        image = NO_SERVICES.get(name, name)
        assert images[name] == f"tidemark/{image}:${{{image.upper()}_TAG:-${{TIDEMARK_TAG:-dev}}}}"
    assert BUILT["topics"]["build"]["args"]["PACKAGE"] == "common"


@pytest.mark.parametrize("service", SERVICES)
def test_changelog_and_releases_on_file_are_of_the_same_versions(service: str) -> None:
    text = (folder_of(service) / "CHANGELOG.md").read_text("utf-8")
    assert UNRELEASED in text
    entries = [version for version, _ in ENTRY.findall(text)]
    on_file = [one.version for one in released(service)]
    assert entries == on_file[::-1]
    assert [one.service for one in released(service)] == [service] * len(on_file)
    assert order_of(version_in_project(service)) >= order_of(on_file[-1])
