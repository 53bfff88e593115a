"""The description as a page to read: plain HTML made here, without a script of anybody's."""

import base64
import hashlib
import json
from collections.abc import Sequence
from html import escape
from typing import Any, Final

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

from orders.api.description import operations

_STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24;
  background: #fff; }
h2 { border-top: 1px solid #c4cad1; padding-top: 1rem; }
code, pre { font: 14px/1.4 ui-monospace, monospace; background: #eef1f4; }
pre { padding: .75rem; overflow: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #dde2e7; }
@media (prefers-color-scheme: dark) {
  body { color: #e6e9ec; background: #14171a; } code, pre { background: #23282d; } a { color: #8ab4f8; }
}
"""

_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY: Final = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; frame-ancestors 'none'; base-uri 'none'"


def add_page(api: FastAPI) -> None:
    """Serves ``/docs``."""

    @api.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(page(api.openapi()), headers={"Content-Security-Policy": POLICY})


def page(document: dict[str, Any]) -> str:
    """The whole page."""
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(document['info']['title'])}</title>",
        f"<meta name=viewport content='width=device-width'><style>{_STYLE}</style>",
        f"<h1>{escape(document['info']['title'])}, version {escape(document['info']['version'])}</h1>",
        *(f"<p>{_text(part)}</p>" for part in document["info"].get("description", "").strip().split("\n\n")),
        "<p><a href=/openapi.json>openapi.json</a> is the same for programs.</p><ul>",
    ]
    for path, method, operation in operations(document):
        name = f"{method.upper()} {path}"
        parts.append(f"<li><a href='#{escape(operation['operationId'])}'><code>{escape(name)}</code></a>")
    parts.append("</ul>")
    for path, method, operation in operations(document):
        parts.extend(_operation(path, method, operation, document))
    parts.append("<h2 id=schemas>Schemas</h2>")
    for name, schema in document["components"]["schemas"].items():
        parts.append(f"<h3 id='schema-{escape(name)}'>{escape(name)}</h3>{_json(schema)}")
    return "\n".join(parts)


def _operation(path: str, method: str, operation: dict[str, Any], document: dict[str, Any]) -> list[str]:
    parts = [f"<h2 id='{escape(operation['operationId'])}'><code>{method.upper()} {escape(path)}</code></h2>"]
    parts.append(f"<p>{_text(operation.get('summary', ''))}</p>")
    rows = [
        (parameter["name"], parameter["in"], parameter.get("description", ""), _short(parameter["schema"]))
        for parameter in operation.get("parameters", [])
    ]
    if rows:
        parts.append(_table(("parameter", "in", "", "schema"), rows))
    for content in operation.get("requestBody", {}).get("content", {}).values():
        name = content["schema"].get("$ref", "").rpartition("/")[2]
        parts.append(f"<p>Body: <a href='#schema-{escape(name)}'>{escape(name)}</a></p>")
        parts.extend(_json(example) for example in document["components"]["schemas"][name].get("examples", []))
    answers = [
        (status, answer["description"], ", ".join(answer.get("headers", {})))
        for status, answer in operation["responses"].items()
    ]
    parts.append(_table(("status", "answer", "headers"), answers))
    return parts


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    titles = "".join(f"<th scope=col>{escape(each)}" for each in head)
    cells = ("".join(f"<td>{_text(cell)}" for cell in row) for row in rows)
    return f"<table><tr>{titles}<tr>{'<tr>'.join(cells)}</table>"


def _short(schema: dict[str, Any]) -> str:
    return json.dumps({name: value for name, value in schema.items() if name not in ("title", "description")})


def _json(value: Any) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre>"


def _text(text: str) -> str:
    """Escaped; pieces between backticks are code."""
    pieces = escape(text).split("`")
    return "".join(f"<code>{piece}</code>" if number % 2 else piece for number, piece in enumerate(pieces))
