"""The API's own description: complete, exact, and the same table of problems everywhere."""

import ast
import importlib.util
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from common.contracts.problems import PROBLEMS, problem_type
from common.contracts.values import INT64_MAX
from fastapi import FastAPI
from orders.api.description import operations
from streams.service.operations import Health, operations_router


class Unused:
    async def send(self, *_: Any) -> tuple[int, int]:
        raise AssertionError


@pytest.fixture(scope="module")
def api(make_once: Any) -> FastAPI:
    api, _ = make_once.api(Unused())
    api.include_router(operations_router(Health("orders")))
    made: FastAPI = api
    return made


@pytest.fixture(scope="module")
def document(api: FastAPI) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(json.dumps(api.openapi()))
    return made


def client(api: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://orders")


def test_operations_then_each_has_a_stable_id_of_its_own(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(ids)) == len(ids)
    assert {"orders_submit", "orders_cancel", "accounts_fund", "operations_ready"} <= set(ids)


def test_answers_then_what_any_request_may_get_is_declared_with_its_types_and_headers(document: dict[str, Any]) -> None:
    for path, _, operation in operations(document):
        if not path.startswith("/v1/"):
            continue
        answers = operation["responses"]
        assert {"400", "408", "414", "421", "429", "431", "500", "503"} <= answers.keys()
        assert ("requestBody" in operation) == ({"413", "415"} <= answers.keys())
        for status in ("429", "503"):
            assert "Retry-After" in answers[status]["headers"]
        for status, answer in answers.items():
            if status >= "4":
                (media_type,) = answer["content"]
                assert media_type == "application/problem+json"
                types = answer["content"][media_type]["schema"]["properties"]["type"]["enum"]
                assert types == [problem_type(name) for name, each in PROBLEMS.items() if str(each.status) == status]
    assert "Location" in document["paths"]["/v1/orders"]["post"]["responses"]["201"]["headers"]


def test_bounds_then_they_are_whole_numbers_and_exact(document: dict[str, Any]) -> None:
    text = json.dumps(document)
    assert "e+" not in text
    assert str(INT64_MAX + 1) not in text
    qty = document["components"]["schemas"]["OrderRequest"]["properties"]["qty"]
    assert (qty["minimum"], qty["maximum"]) == (-INT64_MAX, INT64_MAX)
    for _, _, operation in operations(document):
        for parameter in operation["parameters"]:
            assert "anyOf" not in parameter["schema"], "null cannot be sent"


def test_document_then_requests_have_examples_and_a_security_scheme_is_ready(document: dict[str, Any]) -> None:
    for _, _, operation in operations(document):
        if "requestBody" in operation:
            name = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
            assert document["components"]["schemas"][name]["examples"]
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    assert {} in document["security"], "not asked for yet"
    assert "/metrics" not in document["paths"]


def test_problems_then_type_is_an_enum_of_the_table(document: dict[str, Any]) -> None:
    schema = document["components"]["schemas"]["ProblemDetails"]
    assert schema["properties"]["type"]["enum"] == [problem_type(name) for name in PROBLEMS]


def test_problems_that_the_service_makes_then_status_and_title_are_the_tables() -> None:
    found = importlib.util.find_spec("orders")
    assert found is not None and found.submodule_search_locations
    seen = set()
    for file in Path(next(iter(found.submodule_search_locations))).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Problem":
                first = [argument.value for argument in node.args[:3] if isinstance(argument, ast.Constant)]
                if len(first) == 3:
                    status, name, title = first
                    assert name in PROBLEMS, f"{file.name}: {name!r} is not in common/contracts/problems.py"
                    assert (PROBLEMS[str(name)].status, PROBLEMS[str(name)].title) == (status, title)
                    seen.add(name)
    assert len(seen) > 8


def test_every_kind_of_problem_is_in_the_readme_of_a_service_that_answers_with_it() -> None:
    services = Path(__file__).parents[2] / "services"
    readmes = "".join((services / name / "README.md").read_text("utf-8") for name in ("orders", "signals"))
    for name, kind in PROBLEMS.items():
        assert f"| {kind.status} | `{name}` | {kind.meaning} |" in readmes


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("OPTIONS", "/v1/orders/A.1", "DELETE, GET"),
        ("PUT", "/v1/orders", "DELETE, POST"),
        ("PATCH", "/v1/accounts/A", "GET, POST"),
        ("POST", "/health/live", "GET"),
        ("TRACE", "/v1/accounts/A/orders", "DELETE, GET"),
    ],
)
async def test_method_when_the_path_has_others_then_405_names_all_of_them(
    api: FastAPI, method: str, path: str, allow: str
) -> None:
    async with client(api) as http:
        response = await http.request(method, path)
    assert (response.status_code, response.headers["Allow"]) == (405, allow)
    assert response.headers["Content-Type"] == "application/problem+json"


async def test_page_then_it_shows_everything_and_loads_nothing(api: FastAPI, document: dict[str, Any]) -> None:
    async with client(api) as http:
        page = await http.get("/docs")
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert not any(word in page.text for word in ("<script", "src=", "http-equiv", "@import", "url("))
    for path, _, operation in operations(document):
        assert f"id='{operation['operationId']}'" in page.text
        assert path in page.text
