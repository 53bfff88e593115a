"""Kafka's jars from Maven Central, pinned by ``kafka_jars.lock``.

The lock was resolved once by Maven itself; here nothing is resolved, every file is named and its hash is checked.
"""

import hashlib
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from parts.cache import cached, tell
from parts.errors import PartsError

KAFKA_VERSION: Final = "4.3.0"
LOCK: Final = Path(__file__).with_name("kafka_jars.lock")
DOWNLOADS_AT_ONCE: Final = 8
DOWNLOAD_TIMEOUT_S: Final = 60
TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Jar:
    """One locked file: Maven coordinates, SHA-256 in hex, size in bytes."""

    group: str
    artifact: str
    version: str
    sha256: str
    size: int
    classifier: str = ""
    packaging: str = "jar"

    @property
    def filename(self) -> str:
        classifier = f"-{self.classifier}" if self.classifier else ""
        return f"{self.artifact}-{self.version}{classifier}.{self.packaging}"

    @property
    def maven_path(self) -> Path:
        """Its path in a Maven repository."""
        return Path(*self.group.split("."), self.artifact, self.version, self.filename)


def locked_jars(lock: Path = LOCK) -> list[Jar]:
    """The lines of the lock: ``sha256 size group:artifact:version``."""
    jars = []
    for line in lock.read_text(encoding="ascii").splitlines():
        if line and not line.startswith("#"):
            sha256, size, coordinates = line.split()
            group, artifact, version = coordinates.split(":")
            jars.append(Jar(group, artifact, version, sha256, int(size)))
    return jars


def kafka_jars() -> Path:
    """The directory with every jar of the broker, fetched on first use. Raises PartsError."""
    return jars_of(LOCK, f"kafka-{KAFKA_VERSION}", f"Apache Kafka {KAFKA_VERSION}")


def jars_of(lock: Path, name: str, what: str) -> Path:
    """The directory with every jar of a lock, fetched on first use. Raises PartsError.

    ``name`` begins the directory's name in the cache; ``what`` is how people call it.
    """
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    return cached(f"{name}-{digest}", lambda directory: fetch(locked_jars(lock), directory, what))


def fetch(jars: Sequence[Jar], directory: Path, what: str = f"Apache Kafka {KAFKA_VERSION}") -> None:
    """Puts the jars into ``directory``: from the machine's own Maven repository where it has them, else downloaded."""
    missing = [jar for jar in jars if not _from_local_repository(jar, directory)]
    if not missing:
        return
    total_mb = sum(jar.size for jar in missing) / 1e6
    tell(f"{what}: fetching {len(missing)} jars, {total_mb:.0f} MB, from Maven Central")
    staging = directory.parent / "repository"
    done_bytes = told = 0
    with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
        running = {pool.submit(_download, jar, staging, directory): jar for jar in missing}
        for finished in as_completed(running):
            try:
                finished.result()
            except Exception as error:  # the resolver has errors of many kinds, and each ends the download
                pool.shutdown(cancel_futures=True)
                raise PartsError(_explain(running[finished], error, what)) from error
            done_bytes += running[finished].size
            percent = round(100 * done_bytes / (total_mb * 1e6))
            if percent >= told + 10:
                told = percent
                tell(f"{what}: {percent} %")
    shutil.rmtree(staging, ignore_errors=True)


def _explain(jar: Jar, error: Exception, what: str) -> str:
    return (
        f"{what} cannot be fetched: {jar.group}:{jar.artifact}:{jar.version} from Maven Central by the PyPI "
        f"client jgo, {TRIES} tries: {error}\n"
        "What to do: check the network and the proxy (HTTPS_PROXY, REQUESTS_CA_BUNDLE), then run it again; or fetch it "
        f"with Maven, whose local repository is looked at first "
        f"(mvn dependency:get -Dartifact={jar.group}:{jar.artifact}:{jar.version}); or, for the broker, use docker "
        "(TIDEMARK_PARTS=docker) with the image apache/kafka."
    )


def _from_local_repository(jar: Jar, directory: Path) -> bool:
    repository = Path(os.environ.get("M2_REPO") or Path.home() / ".m2" / "repository")
    found = repository / jar.maven_path
    if not found.is_file() or _sha256(found) != jar.sha256:
        return False
    shutil.copyfile(found, directory / jar.filename)
    return True


def _download(jar: Jar, staging: Path, directory: Path) -> None:
    # Imported late: with docker, or with the cache filled, nobody needs them.
    import truststore
    from jgo.maven import MavenContext

    truststore.inject_into_ssl()  # what the machine trusts, as pip, uv and Node do; requests brings a list of its own

    context = MavenContext(repo_cache=staging, timeout=DOWNLOAD_TIMEOUT_S)
    artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact(jar.classifier, jar.packaging)
    for attempt in range(TRIES):
        (staging / jar.maven_path).unlink(missing_ok=True)  # what a broken try left would pass for whole
        try:
            path = Path(artifact.resolve())
            break
        except Exception:  # likewise; the last one is raised
            if attempt == TRIES - 1:
                raise
    actual = _sha256(path)
    if actual != jar.sha256:
        raise PartsError(f"sha256 is {actual}, the lock says {jar.sha256}")
    path.rename(directory / jar.filename)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
