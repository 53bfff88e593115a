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


def test_containers_of_ours_then_they_are_nobody_special_and_the_engine_s_filter_of_calls_stays_on() -> None:
    """As both files together say. ``identities`` alone is root, without a network, to give files to their readers."""
    merged: dict[str, dict[str, Any]] = {}
    for name in ("compose.yaml", "compose.secure.yaml"):
        for service, given in yaml.safe_load((COMPOSE / name).read_text("utf-8"))["services"].items():
            merged[service] = merged.get(service, {}) | given
    ours = {name: each for name, each in merged.items() if str(each.get("image", "")).startswith("tidemark/")}
    assert ours.keys() == {*SERVICES, COMMAND_LINE, "topics", "rights", "identities"}
    for name, each in ours.items():
        assert each["cap_drop"] == ["ALL"], name
        assert each["security_opt"] == ["no-new-privileges:true"], name
        assert not {"privileged", "devices", "pid", "ipc", "userns_mode"} & each.keys(), name
    assert {name for name, each in ours.items() if "user" in each or "cap_add" in each} == {"identities"}
    assert ours["identities"]["network_mode"] == "none"
    for name, each in merged.items():
        assert not [option for option in each.get("security_opt", ()) if "unconfined" in option], name
        assert not [volume for volume in each.get("volumes", ()) if "docker.sock" in volume], name
    recipe = (COMPOSE.parent / "Dockerfile").read_text("utf-8")
    assert recipe.rpartition("\nUSER ")[2].splitlines()[0] == "tidemark"
