"""Hooks that schemathesis has beside its configuration; it imports this file by itself."""

from typing import Any

import schemathesis


@schemathesis.hook
def map_body(_context: schemathesis.HookContext, body: Any) -> Any:
    """JSON Schema takes 512.0 for an integer. The API does not, so that nobody's price is ever rounded; a schema cannot
    say that."""
    if isinstance(body, dict):
        return {name: map_body(_context, value) for name, value in body.items()}
    return int(body) if isinstance(body, float) and body.is_integer() else body
