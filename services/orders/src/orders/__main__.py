"""``python -m orders worker``."""

from orders.app import build
from orders.settings import OrdersSettings

if __name__ == "__main__":
    build(OrdersSettings()).main()
