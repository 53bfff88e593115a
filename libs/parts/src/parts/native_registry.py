"""Apicurio Registry, a schema registry with Confluent's API: one JVM, its schemas in a file of the H2 database."""

import tarfile
from pathlib import Path
from typing import Final

from parts import probes
from parts.cache import cached
from parts.java import find_java
from parts.kafka_jars import Jar, fetch
from parts.native import HOST, NativePart
from parts.ports import free_port

VERSION: Final = "3.3.3"
ARCHIVE: Final = Jar(
    "io.apicurio",
    "apicurio-registry-app",
    VERSION,
    "8bc6751c76d963734224b01d5e7f84ccb3cb61c87d3bd77c36c35f10a5cbed63",
    158_577_952,
    "all",
    "tar.gz",
)
LOWEST_JAVA: Final = 21
PROGRAM: Final = "quarkus-run.jar"
CONFLUENT_PATH: Final = "/apis/ccompat/v7"
"""Path under which the registry speaks as Confluent's does."""


def find_registry() -> Path:
    """The unpacked program, fetched on first use. Raises PartsError."""
    return cached(f"apicurio-{VERSION}-{ARCHIVE.sha256[:12]}", _unpack) / PROGRAM


def _unpack(directory: Path) -> None:
    fetch([ARCHIVE], directory, f"Apicurio Registry {VERSION}")
    archive = directory / ARCHIVE.filename
    with tarfile.open(archive) as tar:
        tar.extraction_filter = getattr(tarfile, "data_filter", None)  # since Python 3.11.4
        tar.extractall(directory)
    archive.unlink()


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
