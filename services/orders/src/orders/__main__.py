"""``python -m orders worker``."""

from streams.process.replica import as_replica
from streams.process.start import starting

from orders.app import build
from orders.settings import OrdersSettings

if __name__ == "__main__":
    with starting("orders"):
        app = build(as_replica(OrdersSettings(), "orders"))
    app.main()
