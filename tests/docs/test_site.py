"""The documentation site: every page and module is in it, and a link that leads nowhere ends the build."""

import subprocess
from pathlib import Path

import pytest
import yaml

from docs import site
from tests.docs.guide import ROOT


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("site")
    site.lay_out(directory)
    return directory


def in_menu(node: object) -> list[str]:
    """Paths of all pages in a part of the menu."""
    if isinstance(node, str):
        return [node]
    nested = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [page for inner in nested for page in in_menu(inner)]


def test_menu_has_every_page_once(laid_out: Path) -> None:
    menu = in_menu(yaml.safe_load((laid_out / "mkdocs.yml").read_text("utf-8"))["nav"])
    pages = laid_out / "pages"
    assert sorted(menu) == sorted(page.relative_to(pages).as_posix() for page in pages.rglob("*.md"))


def test_reference_has_every_module_of_its_packages(laid_out: Path) -> None:
    for _, source, package in site.REFERENCE:
        found = list(site.modules(source, package))
        assert len(found) > 10
        index = (laid_out / "pages" / "reference" / package / "index.md").read_text("utf-8")
        assert all(module.name in index and module.summary in index for module in found)


@pytest.mark.parametrize("link", ["[a](nowhere.md)", "![a](nowhere.png)", "[a](../nowhere/README.md#b)", "[a](adr)"])
def test_link_when_it_leads_nowhere_then_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: str) -> None:
    (tmp_path / "adr").mkdir()
    (tmp_path / "page.md").write_text(link)
    monkeypatch.setattr(site, "ROOT", tmp_path)
    with pytest.raises(ValueError, match=r"page\.md links to"):
        list(site.linked("page.md"))


@pytest.mark.slow
def test_site_is_built_without_a_warning() -> None:
    built = subprocess.run(["make", "docs"], cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert built.returncode == 0, built.stdout + built.stderr
    assert "No issues found" in built.stdout + built.stderr
