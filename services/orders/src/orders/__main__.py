"""``python -m orders worker``."""

from streams.process.replica import as_replica

from orders.app import build
from orders.settings import OrdersSettings

if __name__ == "__main__":
    build(as_replica(OrdersSettings(), "orders")).main()
