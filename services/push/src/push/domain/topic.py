"""A topic that a client may ask for: one scope of a view (``book:AAPL``), or a whole view (``quote``, ``alert``)."""

import re
from typing import Final, NamedTuple, Self

from common.contracts.values import ACCOUNT_ID_PATTERN, SYMBOL_PATTERN
from common.contracts.views import CONFLATED_VIEWS

from push.domain.rows import Scope

WHOLE_VIEWS: Final = frozenset({"quote", "alert", "health"})
"""Views whose scopes are a matter of their writers (partitions, services): clients get all of them as one topic."""

SCOPES: Final = {
    "book": re.compile(SYMBOL_PATTERN),
    "bar": re.compile(rf"{SYMBOL_PATTERN}:[1-9][0-9]{{0,18}}"),
    "account": re.compile(ACCOUNT_ID_PATTERN),
    "order": re.compile(ACCOUNT_ID_PATTERN),
    "fill": re.compile(ACCOUNT_ID_PATTERN),
    "break": re.compile(ACCOUNT_ID_PATTERN),
}
PATHS: Final = {
    "quote": "market",
    "book": "market",
    "bar": "market",
    "alert": "market",
    "account": "orders",
    "order": "orders",
    "fill": "orders",
    "break": "orders",
}
"""Which path's latency a view belongs to; health belongs to none."""


class TopicError(ValueError):
    """Not a topic; the message says why, for the client."""


class Topic(NamedTuple):
    """A client's subscription. ``scope`` is empty for a whole view."""

    name: str
    scope: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """``name`` or ``name:scope``. Raises TopicError."""
        name, colon, scope = text.partition(":")
        if name in WHOLE_VIEWS:
            if colon:
                raise TopicError(f"{name} has no scopes to choose from: subscribe to {name!r}")
            return cls(name, "")
        pattern = SCOPES.get(name)
        if pattern is None:
            raise TopicError(f"no view is called {name[:32]!r}")
        if not pattern.fullmatch(scope):
            raise TopicError(f"{scope[:64]!r} is no scope of {name}")
        return cls(name, scope)

    @classmethod
    def of(cls, scope: Scope) -> Self:
        """The topic through which clients see the scope."""
        return cls(scope.name, "" if scope.name in WHOLE_VIEWS else scope.scope)

    @property
    def whole(self) -> bool:
        return self.name in WHOLE_VIEWS

    @property
    def conflated(self) -> bool:
        """Whether the newest row per key is enough."""
        return self.name in CONFLATED_VIEWS

    def __str__(self) -> str:
        return self.name if self.whole else f"{self.name}:{self.scope}"
