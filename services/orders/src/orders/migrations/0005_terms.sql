-- Terms of an order: shares that trade at once or not at all, and when a GTD order expires, by the exchange's time.

ALTER TABLE orders ADD COLUMN min_qty bigint;
ALTER TABLE orders ADD COLUMN expire_ns bigint;
