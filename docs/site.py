"""Lays out the pages of the documentation site as they lie in the repository, so that every link between them holds.

    python docs/site.py DIRECTORY

The directory then holds ``mkdocs.yml`` and ``pages/``: every page that git tracks, at its own path; every file that a
page links to; and pages of the API reference, one a module, made from ``REFERENCE``. ``make docs`` builds the site.
"""

import ast
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]

REFERENCE: Final[tuple[tuple[str, str, str], ...]] = (
    ("Streams", "libs/streams/src", "streams"),
    ("Contracts", "libs/common/src", "common.contracts"),
)
"""Packages of the API reference: title, the folder that is on Python's path, the package."""

START: Final = (
    "README.md",
    "docs/architecture.md",
    "docs/glossary.md",
    "CONTRIBUTING.md",
    "docs/guarantees.md",
    "docs/results.md",
    "CHANGELOG.md",
)
SECTIONS: Final = (
    ("Guides", "docs/guides"),
    ("Services", "services"),
    ("Operation and bounds", "docs"),
    ("Libraries", "libs"),
    ("Tools", "tools"),
    ("Examples", "examples"),
    ("Benches", "bench"),
    ("Decisions", "docs/adr"),
)
"""Parts of the menu: a page stands in that one whose folder is the longest that holds it."""

LINK: Final = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s#]+)(#[^)\s]*)?\)|!\[[^\]\n]*\]\(([^)\s]+)\)")
TITLE: Final = re.compile(r"^# (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Module:
    """One module of the reference: its name, and the first line of its docstring."""

    name: str
    summary: str


def tracked(*patterns: str) -> list[str]:
    """Paths of files that git tracks or would track, from the root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *patterns]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return sorted({name for name in listed.split("\0") if name and (ROOT / name).is_file()})


def linked(page: str) -> Iterator[str]:
    """Files of the repository that a page links to and that are no pages. Raises ValueError for a dead link."""
    for found in LINK.finditer((ROOT / page).read_text("utf-8")):
        target = found[1] or found[3]
        if re.match(r"[a-z]+:", target):
            continue
        file = (ROOT / page).parent.joinpath(target).resolve()
        if not file.is_file() or not file.is_relative_to(ROOT):
            raise ValueError(f"{page} links to {target}, which is no file of the repository")
        if file.suffix != ".md":
            yield file.relative_to(ROOT).as_posix()


def modules(source: str, package: str) -> Iterator[Module]:
    """Every module of a package but those that are empty, by name."""
    folder = ROOT / source
    for file in sorted((folder / package.replace(".", "/")).rglob("*.py")):
        tree = ast.parse(file.read_text("utf-8"))
        parts = file.relative_to(folder).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if tree.body and parts[-1] != "__main__":
            yield Module(name, (ast.get_docstring(tree) or "").partition("\n")[0])


def reference(pages: Path) -> list[dict[str, Any]]:
    """Writes the pages of the API reference and returns their part of the menu."""
    menu = []
    for title, source, package in REFERENCE:
        found = list(modules(source, package))
        if not found:
            raise ValueError(f"the package {package} has no module in {source}")
        folder = pages / "reference" / package
        folder.mkdir(parents=True)
        for module in found:
            (folder / f"{module.name}.md").write_text(f"# {module.name}\n\n::: {module.name}\n", "utf-8")
        rows = "\n".join(f"| [{module.name}]({module.name}.md) | {module.summary} |" for module in found)
        (folder / "index.md").write_text(f"# {title}: `{package}`\n\n| module | |\n|---|---|\n{rows}\n", "utf-8")
        entries = ["index.md", *(f"{module.name}.md" for module in found)]
        menu.append({title: [f"reference/{package}/{entry}" for entry in entries]})
    return menu


def section(page: str) -> str:
    folders = [folder for _, folder in SECTIONS if page.startswith(f"{folder}/")]
    return max(folders, key=len)


def decisions(pages: list[str]) -> str:
    """The list of the decisions, from their titles, for the end of their first page."""
    titles = {page: TITLE.search((ROOT / page).read_text("utf-8")) for page in pages}
    return "\n".join(f"- [{title[1]}]({Path(page).name})" for page, title in titles.items() if title)


def lay_out(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    pages = directory / "pages"
    written = tracked("*.md")
    for name in sorted({*written, *(file for page in written for file in linked(page))}):
        (pages / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, pages / name)
    adrs = [page for page in written if re.match(r"docs/adr/\d", page)]
    with (pages / "docs/adr/README.md").open("a", encoding="utf-8") as first:
        first.write(f"\n{decisions(adrs)}\n")
    rest = [page for page in written if page not in START]
    menu: list[Any] = [page for page in START if page in written]
    menu += [{title: [page for page in rest if section(page) == folder]} for title, folder in SECTIONS]
    menu += [{"API reference": reference(pages)}]
    config = (ROOT / "docs" / "mkdocs.yml").read_text("utf-8")
    sources = json.dumps(sorted({str(ROOT / source) for _, source, _ in REFERENCE}))
    filled = config.replace("paths: []", f"paths: {sources}")
    (directory / "mkdocs.yml").write_text(f"{filled}\nnav: {json.dumps(menu, ensure_ascii=False)}\n", "utf-8")


if __name__ == "__main__":
    lay_out(Path(sys.argv[1]).resolve())
