"""compose.secure.yaml against what `tidemark secure init` writes: the same URLs, and files for their holders alone."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from common.contracts.rights import COMMAND_LINE, SERVICES
from tidemark.authority import KAFKA, NAMES, POSTGRES, REDIS, SETTINGS, Authority, Servers

COMPOSE = Path(__file__).parents[2] / "compose"
SERVERS = Servers("redis:6379", "postgres:5432/tidemark")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.secure.yaml").read_text("utf-8"))["services"]
    return found


@pytest.mark.parametrize("name", [*SERVICES, COMMAND_LINE])
def test_service_then_it_comes_as_the_authority_says(services: dict[str, Any], name: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    wanted = {
        variable: value.replace(str(tmp_path), "/secure")
        for variable, value in authority.addresses(name, SERVERS).items()
    }
    wanted["TIDEMARK_SETTINGS_FILE"] = f"/secure/{name}/{SETTINGS}"
    assert services[name]["environment"] == wanted


def test_files_then_each_container_has_its_own_and_cannot_change_them(services: dict[str, Any]) -> None:
    holders = {"rights": "admin", "topics": COMMAND_LINE}
    for name, service in services.items():
        if name != "identities":
            assert service["volumes"] == [f"secure-{holders.get(name, name)}:/secure/{holders.get(name, name)}:ro"]
    made = {volume.partition(":")[0] for volume in services["identities"]["volumes"]}
    assert made == {f"secure-{name}" for name in ("ca", KAFKA, REDIS, POSTGRES, *NAMES)}


def test_push_then_it_reaches_redis_alone(services: dict[str, Any]) -> None:
    assert services["push"]["networks"] == ["views"]
    assert [name for name, service in services.items() if "views" in service.get("networks", ())] == ["redis", "push"]


def test_pages_for_operators_then_prometheus_asks_for_them_at_their_port_and_nobody_publishes_it() -> None:
    composed = yaml.safe_load((COMPOSE / "compose.yaml").read_text("utf-8"))["services"]
    scraped = yaml.safe_load((COMPOSE / "prometheus.yml").read_text("utf-8"))["scrape_configs"][0]["static_configs"]
    ports = {name: composed[name]["environment"]["TIDEMARK_OPERATIONS_PORT"] for name in SERVICES}
    wanted = [([f"{name}:{port}"], name) for name, port in ports.items()]
    assert [(each["targets"], each["labels"]["service"]) for each in scraped] == wanted
    published = [port.rpartition(":")[2] for name in SERVICES for port in composed[name].get("ports", ())]
    assert published
    assert not set(published) & set(ports.values())
