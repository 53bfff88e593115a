"""The API's own description (OpenAPI): what the framework cannot know is added, what it gets wrong is put right."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from common.access.endpoints import EndpointRows
from common.checks.check import Check
from common.checks.reasons import denials
from common.contracts.events import ReasonCode
from common.contracts.problems import PROBLEMS, problem_type
from common.contracts.rights import Reach
from common.contracts.values import INT64_MAX
from common.problems import ProblemDetails
from fastapi import FastAPI
from fastapi.routing import APIRoute
from streams.service.http.answers import MEDIA_TYPE

Document = dict[str, Any]
PROBLEM_SCHEMA: Final = {"$ref": "#/components/schemas/ProblemDetails"}
REASON_SCHEMA: Final = {"$ref": "#/components/schemas/ReasonCode"}
ANY_REQUEST: Final = (400, 401, 403, 408, 414, 421, 429, 431, 500, 503)
"""Statuses that any request may be answered with."""
WITH_BODY: Final = (413, 415)
OF_ANOTHER: Final = "nobody knows it, or it is not for this identity"
"""404 where one may act for one's own accounts: of others he is told that there are none."""
DENIED: Final = 422
"""Says when to come back where the reason is of the moment."""
_BOUNDS: Final = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
_ROWS: Final = EndpointRows("orders")
_INTEGER: Final = {"type": "integer"}
TRACE_ID: Final = "Tidemark-Trace-Id"
_HEADERS: Final[dict[str, Document]] = {
    "Retry-After": {"description": "seconds", "schema": {"type": "integer", "minimum": 0}},
    "Location": {"description": "where the order can be read", "schema": {"type": "string"}},
    "Tidemark-Clock-Off-Ns": {
        "description": "`Tidemark-Sent-Ns` was so far ahead of the server's clock, out of its bound, and was not used",
        "schema": _INTEGER,
    },
    TRACE_ID: {
        "description": "the trace of this request, the caller's own where it sent a `traceparent`; recorded if sampled",
        "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    },
}
_EXAMPLES: Final = {"account_id": "ACC0001", "order_id": "ACC0001.order-1", "break_id": "2-1041"}
_TRACEPARENT: Final = {
    "name": "traceparent",
    "in": "header",
    "required": False,
    "description": "W3C Trace Context: the trace goes on in every service that the request passes",
    "schema": {"type": "string"},
    "example": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}


def operation_id(route: APIRoute) -> str:
    """Stable as long as tag and function keep their names."""
    return f"{route.tags[0] if route.tags else 'api'}_{route.name}"


def describe(api: FastAPI, checks: Sequence[Check], *, is_open: bool) -> None:
    """Has the application describe itself in the way of this module, once it is asked to. ``checks``: the gate's;
    ``is_open``: nobody is asked who he is."""
    generate = api.openapi

    def openapi() -> Document:
        if api.openapi_schema is None:
            api.openapi_schema = completed(generate(), checks, is_open=is_open)
        return api.openapi_schema

    api.openapi = openapi  # type: ignore[method-assign]


def completed(document: Document, checks: Sequence[Check], *, is_open: bool) -> Document:
    """The framework's document with every answer, header and example; changes it in place."""
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["ProblemDetails"] = _problem_schema()
    schemas["ReasonCode"] |= reasons_of(checks)
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "a token of the issuer, or a program's key"}
    }
    document["security"] = [{}, {"bearer": []}] if is_open else [{"bearer": []}]
    for path, method, operation in operations(document):
        if not is_open and _is_of_an_account(method, path):
            operation["responses"].setdefault("404", {"description": OF_ANOTHER})
        _complete(path, method, operation)
    _exact_bounds(document)
    return document


def operations(document: Document) -> Iterator[tuple[str, str, Document]]:
    """(path, method, operation) of all."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def problem_answer(status: int, description: str) -> Document:
    """An OpenAPI response: problem details whose type is one of those the table has for the status."""
    types = [problem_type(name) for name, kind in PROBLEMS.items() if kind.status == status]
    answer: Document = {
        "description": description,
        "content": {
            MEDIA_TYPE: {"schema": {"allOf": [PROBLEM_SCHEMA], "properties": {"type": {"enum": types}}}},
        },
    }
    if status == DENIED or any(kind.retry for kind in PROBLEMS.values() if kind.status == status):
        answer["headers"] = {"Retry-After": _HEADERS["Retry-After"]}
    if status == DENIED:
        answer["content"][MEDIA_TYPE]["schema"]["properties"]["reason"] = REASON_SCHEMA
    return answer


def reasons_of(checks: Sequence[Check]) -> Document:
    """Every reason of a denial, in the order in which an order meets them, and what each says."""
    said = denials(checks)
    lines = [f"- `{each.reason}`: {each.meaning}" + (f" (`{each.check}`)" if each.check else "") for each in said]
    codes = dict.fromkeys([*ReasonCode, *(each.reason for each in said)])
    return {"enum": [code.value for code in codes], "description": "\n".join(lines)}


def _problem_schema() -> Document:
    schema = ProblemDetails.model_json_schema()
    schema["properties"]["type"] = {
        "type": "string",
        "enum": [problem_type(name) for name in PROBLEMS],
        "description": "\n".join(f"- `…:{name}`: {kind.meaning}" for name, kind in PROBLEMS.items()),
    }
    schema["properties"]["status"] = {"type": "integer", "minimum": 400, "maximum": 599}
    return schema


def _complete(path: str, method: str, operation: Document) -> None:
    responses = operation["responses"]
    described = responses.get("422", {}).get("content", {})
    if "application/json" in described and len(described) == 1:
        del responses["422"]  # the framework's own, which is never sent
    if path.startswith("/v1/"):
        statuses = ANY_REQUEST + (WITH_BODY if "requestBody" in operation else ())
        for status in statuses:
            meanings = [kind.meaning for kind in PROBLEMS.values() if kind.status == status]
            responses.setdefault(str(status), {"description": "; or ".join(meanings)})
    else:
        operation["security"] = []
    for code, answer in responses.items():
        if code >= "4" and path.startswith("/v1/"):
            made = problem_answer(int(code), answer["description"])
            responses[code] = made | {"headers": answer.get("headers", {}) | made.get("headers", {})}
    parameters = operation.setdefault("parameters", [])
    for parameter in parameters:
        _without_null(parameter["schema"])
        if example := _EXAMPLES.get(parameter["name"]):
            parameter["example"] = example
    if path.startswith("/v1/"):
        parameters.append(_TRACEPARENT)
    if path.startswith("/v1/") and method in ("post", "delete"):
        for answer in responses.values():
            answer.setdefault("headers", {})["Tidemark-Clock-Off-Ns"] = _HEADERS["Tidemark-Clock-Off-Ns"]
    if (path, method) == ("/v1/orders", "post"):
        for code in ("200", "201"):
            responses[code].setdefault("headers", {})["Location"] = _HEADERS["Location"]
    for answer in responses.values():
        answer.setdefault("headers", {})[TRACE_ID] = _HEADERS[TRACE_ID]
    operation["responses"] = dict(sorted(responses.items()))


def _is_of_an_account(method: str, path: str) -> bool:
    row = _ROWS.find(method.upper(), path)
    return row is not None and Reach.OWN in row.grants.values()


def _without_null(schema: Document) -> None:
    """A parameter is there or not: JSON's null cannot be written in a path, query or header."""
    kinds = [kind for kind in schema.get("anyOf", []) if kind != {"type": "null"}]
    if len(kinds) == 1:
        del schema["anyOf"]
        schema |= kinds[0]


def _exact_bounds(node: Any) -> None:
    """Bounds are written as integers: the framework makes floats of them, and 2^63 of 2^63−1."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in _BOUNDS and isinstance(value, float) and value.is_integer():
                node[key] = max(-INT64_MAX, min(INT64_MAX, int(value)))
            else:
                _exact_bounds(value)
    elif isinstance(node, list):
        for value in node:
            _exact_bounds(value)
