"""Ids on spans: by these an order's trace is found."""

from typing import Any, Final

IDS: Final = ("order_id", "account_id", "symbol")


def ids_of(body: Any) -> dict[str, str]:
    """Those of the ids that the body has. An order that the gate has not seen yet is named as it will name it."""
    found = {name: value for name in IDS if isinstance(value := getattr(body, name, None), str) and value}
    client_order_id = getattr(body, "client_order_id", None)
    if "order_id" not in found and "account_id" in found and client_order_id:
        found["order_id"] = f"{found['account_id']}.{client_order_id}"
    return found
