"""Rules of the repository as a whole: portable paths, documents that tell the truth, images that can be built."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath

import pytest

Rule = Callable[[Mapping[str, str]], Iterator[str]]

LOCK_FILES = frozenset({"uv.lock", "package-lock.json"})
REGISTRY_HOSTS = re.compile(
    "|".join(
        re.escape(".".join(host))
        for host in (
            ("pypi", "org"),
            ("pythonhosted", "org"),
            ("npmjs", "org"),
            ("npmjs", "com"),
            ("maven", "org"),
            ("maven", "apache", "org"),
            ("golang", "org"),
            ("crates", "io"),
            ("debian", "org"),
            ("docker", "io"),
            ("docker", "com"),
            ("ghcr", "io"),
            ("quay", "io"),
        )
    )
)
MACHINE_PATHS = re.compile(r"(?<![\w.$})/-])/(?:work|root|tmp|farm|home)/")
README_HEADINGS = ("## Settings", "## Run it alone")
SERVICES = ("ingest", "signals", "risk", "orders", "push", "auditor")
MAKE_COMMAND = re.compile(r"(?:^|[`$(]|&& )\s*make ([a-z][a-z-]*)", re.MULTILINE)
MAKE_TARGET = re.compile(r"^([a-z][a-z-]*):", re.MULTILINE)
RECIPE = "Dockerfile"
BASE_IMAGES = frozenset({"python:3.11-slim-bookworm"})
SERVED_IMAGES = frozenset(
    {
        "apache/kafka:4.3.0",
        "redis:7-bookworm",
        "postgres:15-bookworm",
        "prom/prometheus:v2.42.0",
        "jaegertracing/jaeger:2.13.0",
    }
)


def registry_hosts(files: Mapping[str, str]) -> Iterator[str]:
    """Mirrors differ from place to place: only lock files name where a package came from."""
    for path, line, text in _lines(files):
        if PurePosixPath(path).name not in LOCK_FILES and (hit := REGISTRY_HOSTS.search(text)):
            yield f"{path}:{line}: names the registry host {hit[0]}"


def machine_paths(files: Mapping[str, str]) -> Iterator[str]:
    for path, line, text in _lines(files):
        if PurePosixPath(path).name not in LOCK_FILES and (hit := MACHINE_PATHS.search(text)):
            yield f"{path}:{line}: names a path of one machine, {hit[0]}"


def make_commands(files: Mapping[str, str]) -> Iterator[str]:
    """A document may only tell the reader to make what the Makefile knows."""
    targets = set(MAKE_TARGET.findall(files.get("Makefile", "")))
    for path, text in files.items():
        if path.endswith(".md"):
            yield from (
                f"{path}: make {name} is no target" for name in MAKE_COMMAND.findall(text) if name not in targets
            )


def service_readmes(files: Mapping[str, str]) -> Iterator[str]:
    for service in SERVICES:
        lines = files.get(f"services/{service}/README.md", "").splitlines()
        wanted = (f"# {service}", *README_HEADINGS)
        yield from (f"services/{service}/README.md: no {title!r}" for title in wanted if title not in lines)


def dockerfiles(files: Mapping[str, str]) -> Iterator[str]:
    """One recipe makes every image, from bases that are at hand, and none that runs as root."""
    for path in files:
        if PurePosixPath(path).name == "Dockerfile" and path != RECIPE:
            yield f"{path}: images are built by {RECIPE}"
    text = files.get(RECIPE, "")
    # `FROM ${ASSETS}` chooses among the stages.
    stages = {"${ASSETS}", *re.findall(r"^FROM \S+ AS (\S+)", text, re.MULTILINE)}
    for base in re.findall(r"^FROM (\S+)", text, re.MULTILINE):
        if base not in BASE_IMAGES | stages:
            yield f"{RECIPE}: base image {base}"
    for wanted in ("FROM ", "USER ", "HEALTHCHECK ", "LABEL "):
        if not re.search(f"^{wanted}", text, re.MULTILINE):
            yield f"{RECIPE}: no {wanted.strip()}"
    if re.search(r"^# syntax=", text, re.MULTILINE):
        yield f"{RECIPE}: a syntax line makes the builder pull an image"


BUILT_OR_BEHIND_A_PROFILE = ("tidemark/", "grafana/grafana:", "apicurio/apicurio-registry:")


def compose_images(files: Mapping[str, str]) -> Iterator[str]:
    """A tag that is not at hand is looked for in a registry and fails the whole `up`; others are behind a profile."""
    for path, text in files.items():
        if path.startswith("compose/") and path.endswith(".yaml"):
            for image in re.findall(r"^\s+image: (\S+)", text, re.MULTILINE):
                if image not in SERVED_IMAGES and not image.startswith(BUILT_OR_BEHIND_A_PROFILE):
                    yield f"{path}: image {image}"


def _lines(files: Mapping[str, str]) -> Iterator[tuple[str, int, str]]:
    for path, text in files.items():
        yield from ((path, number, line) for number, line in enumerate(text.splitlines(), 1))


RULES: tuple[Rule, ...] = (registry_hosts, machine_paths, make_commands, service_readmes, dockerfiles, compose_images)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_repository_keeps_the_rule(rule: Rule, files: Mapping[str, str]) -> None:
    found = list(rule(files))
    assert not found, "\n" + "\n".join(found)


HOST = ".".join(("pypi", "org"))
ROOT_PATH = "/".join(("", "root", "x"))
READMES = {f"services/{service}/README.md": "\n".join((f"# {service}", *README_HEADINGS)) for service in SERVICES}
DOCKERFILE = "FROM python:3.11-slim-bookworm AS build\nFROM build\nLABEL a=b\nUSER app\nHEALTHCHECK CMD true\n"
DOCKERFILES = {RECIPE: DOCKERFILE}

BROKEN: tuple[tuple[Rule, dict[str, str]], ...] = (
    (registry_hosts, {"a.py": f"x = 'https://{HOST}/simple'"}),
    (machine_paths, {"a.py": f"open('{ROOT_PATH}')"}),
    (machine_paths, {"compose/compose.yaml": f"      - {ROOT_PATH}:/x"}),
    (make_commands, {"Makefile": "test: sync\n", "README.md": "Run `make tset`."}),
    (make_commands, {"Makefile": "test:\n", "docs/a.md": "    make everything\n"}),
    (service_readmes, {**READMES, "services/risk/README.md": READMES["services/orders/README.md"]}),
    (service_readmes, {}),
    (dockerfiles, {RECIPE: DOCKERFILE.replace("USER app\n", "")}),
    (dockerfiles, {RECIPE: DOCKERFILE.replace("3.11-slim", "3.13-slim")}),
    (dockerfiles, {RECIPE: "# syntax=docker/dockerfile:1\n" + DOCKERFILE}),
    (dockerfiles, {**DOCKERFILES, "services/push/Dockerfile": DOCKERFILE}),
    (dockerfiles, {}),
    (compose_images, {"compose/compose.yaml": "  redis:\n    image: redis:latest\n"}),
)
SOUND: tuple[tuple[Rule, dict[str, str]], ...] = (
    (registry_hosts, {"uv.lock": f"https://{HOST}", "README.md": "from PyPI"}),
    (machine_paths, {"a.py": "open(tmp_path / 'tmp' / 'x')", "b.md": "the framework/root/cause"}),
    (make_commands, {"Makefile": "test: sync\n", "README.md": "Run `make test`; sellers make markets."}),
    (service_readmes, READMES),
    (dockerfiles, DOCKERFILES),
    (compose_images, {"compose/compose.yaml": "  redis:\n    image: redis:7-bookworm\n"}),
)


@pytest.mark.parametrize(("rule", "files_given"), BROKEN)
def test_rule_when_broken_then_found(rule: Rule, files_given: dict[str, str]) -> None:
    assert list(rule(files_given))


@pytest.mark.parametrize(("rule", "files_given"), SOUND)
def test_rule_when_kept_then_silent(rule: Rule, files_given: dict[str, str]) -> None:
    assert not list(rule(files_given))
