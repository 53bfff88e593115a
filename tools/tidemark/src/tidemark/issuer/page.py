"""The page to sign in: plain HTML, no script."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

_STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; display: grid; place-items: center; min-height: 90vh; margin: 0;
  color: #1b1f24; background: #f4f6f8; }
main { width: 20rem; max-width: calc(100vw - 4rem); padding: 2rem; background: #fff; border-radius: .5rem; }
label, input, button { display: block; width: 100%; box-sizing: border-box; font: inherit; }
input, button { margin: .25rem 0 1rem; padding: .5rem; }
[role=alert] { color: #a40000; }
@media (prefers-color-scheme: dark) {
  body { color: #e6e9ec; background: #14171a; } main { background: #1d2126; } [role=alert] { color: #ff8f8f; }
}
"""
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()


def page_headers(dashboards: Sequence[str]) -> dict[str, str]:
    """Nothing is loaded or run; the form goes here, and from here to the dashboard."""
    policy = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; frame-ancestors 'none'"
    return {
        "Content-Security-Policy": f"{policy}; form-action 'self' {' '.join(dashboards)}",
        "Cache-Control": "no-store",
    }


def sign_in_page(asked: Mapping[str, str], said: str) -> str:
    """``asked``: the dashboard's request, which goes on once somebody is signed in; ``said``: what was wrong."""
    fields = "".join(
        f"<input type=hidden name='{escape(name)}' value='{escape(value)}'>" for name, value in asked.items()
    )
    alert = f"<p role=alert>{escape(said)}</p>" if said else ""
    return _page(
        f"<h1>Tidemark</h1>{alert}<form method=post action=/sign-in>{fields}"
        "<label for=name>Name</label><input id=name name=name autocomplete=username required autofocus>"
        "<label for=password>Password</label>"
        "<input id=password name=password type=password autocomplete=current-password required>"
        "<button>Sign in</button></form>"
        "<p>Without a password: <code>tidemark access link</code> prints an address that signs in.</p>"
    )


def refused_page(said: str) -> str:
    return _page(f"<h1>Tidemark</h1><p>{escape(said)}</p>")


def _page(content: str) -> str:
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>Sign in to Tidemark</title><style>{_STYLE}</style><main>{content}</main></html>"
    )
