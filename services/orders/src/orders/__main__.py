"""``python -m orders worker``."""

from streams.process.replica import as_replica
from streams.process.start import starting

from orders.app import build
from orders.settings import OrdersRole, OrdersSettings

if __name__ == "__main__":
    with starting("orders", OrdersSettings):
        settings = OrdersSettings()
        has_stores = OrdersRole.WORKER in settings.roles
        app = build(as_replica(settings, "orders") if has_stores else settings.beside_a_worker())
    app.main()
