"""Apicurio Registry, a schema registry with Confluent's API: one JVM, its schemas in a file of the H2 database."""

import hashlib
import os
import shutil
import tarfile
import urllib.request
from pathlib import Path
from typing import Final

from parts import probes
from parts.cache import cached, tell
from parts.errors import PartsError
from parts.java import find_java
from parts.native import HOST, NativePart
from parts.ports import free_port

VERSION: Final = "3.3.3"
GROUP: Final = "io/apicurio/apicurio-registry-app"
ARCHIVE: Final = f"apicurio-registry-app-{VERSION}-all.tar.gz"
ARCHIVE_SHA256: Final = "8bc6751c76d963734224b01d5e7f84ccb3cb61c87d3bd77c36c35f10a5cbed63"
MAVEN_CENTRAL: Final = "https://repo1.maven.org/maven2"
DOWNLOAD_TIMEOUT_S: Final = 60
LOWEST_JAVA: Final = 21
PROGRAM: Final = "quarkus-run.jar"
CONFLUENT_PATH: Final = "/apis/ccompat/v7"
"""Where the registry speaks as Confluent's does."""


def find_registry() -> Path:
    """The unpacked program, fetched on first use. Raises PartsError."""
    return cached(f"apicurio-{VERSION}-{ARCHIVE_SHA256[:12]}", _fetch) / PROGRAM


def _fetch(directory: Path) -> None:
    archive = directory.parent / ARCHIVE
    repository = Path(os.environ.get("M2_REPO") or Path.home() / ".m2" / "repository")
    local = repository / GROUP / VERSION / ARCHIVE
    if local.is_file():
        shutil.copyfile(local, archive)
    else:
        _download(archive)
    with archive.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != ARCHIVE_SHA256:
        raise PartsError(f"{ARCHIVE} has the SHA-256 {actual}, not the pinned {ARCHIVE_SHA256}")
    with tarfile.open(archive) as tar:
        tar.extractall(directory, filter="data")
    archive.unlink()


def _download(archive: Path) -> None:
    url = f"{os.environ.get('MAVEN_CENTRAL', MAVEN_CENTRAL)}/{GROUP}/{VERSION}/{ARCHIVE}"
    tell(f"Apicurio Registry {VERSION}: fetching 159 MB from Maven Central")
    try:
        with urllib.request.urlopen(url, timeout=DOWNLOAD_TIMEOUT_S) as answer, archive.open("wb") as file:
            shutil.copyfileobj(answer, file)
    except OSError as error:
        raise PartsError(
            f"Apicurio Registry cannot be fetched from {url}: {error}\n"
            "What to do: check the network and the proxy (HTTPS_PROXY, SSL_CERT_FILE), then run it again; or fetch it "
            f"with Maven, whose local repository is looked at first (mvn dependency:get "
            f"-Dartifact=io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all); or do without a registry: the fleet "
            "does not need it."
        ) from error


class NativeRegistry(NativePart):
    """Its schemas are there again after a restart."""

    name = "registry"

    def __init__(self, directory: Path, port: int | None = None) -> None:
        super().__init__(directory, port)
        self._management_port = free_port()

    def prepare(self) -> None:
        options = {
            "apicurio.storage.kind": "sql",
            "apicurio.storage.sql.kind": "h2",
            "apicurio.datasource.url": f"jdbc:h2:file:{self.directory.resolve() / 'schemas'};DB_CLOSE_ON_EXIT=FALSE",
            "quarkus.http.host": HOST,
            "quarkus.http.port": str(self.port),
            "quarkus.management.port": str(self._management_port),
            "quarkus.http.access-log.enabled": "false",
        }
        self._options = [f"-D{name}={value}" for name, value in options.items()]

    def command(self) -> list[str]:
        java = [str(find_java(LOWEST_JAVA)), "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        return [*java, "-XX:-UsePerfData", *self._options, "-jar", str(find_registry())]

    def ready(self) -> bool:
        return probes.http_answers(f"{self.address}/subjects")

    @property
    def address(self) -> str:
        """Base URL of Confluent's API."""
        return f"http://{HOST}:{self.port}{CONFLUENT_PATH}"
