-- Every report of a venue can be read, and every step of an order.

-- A report is known by its order, its id and its body, as the judge knows it (common.executions): a venue may use an id
-- again, for another order or with another body. The same report sent again is one row.
ALTER TABLE executions ADD COLUMN ref_execution_id text;
-- The key's name is another one where a table of the same name was renamed and is still there.
DO $$
DECLARE key text;
BEGIN
    SELECT conname INTO STRICT key FROM pg_constraint WHERE conrelid = 'executions'::regclass AND contype = 'p';
    EXECUTE format('ALTER TABLE executions DROP CONSTRAINT %I', key);
END $$;
CREATE UNIQUE INDEX executions_by_report ON executions (
    execution_id, order_id, account_id, md5(
        exec_type || ' ' || symbol || ' ' || side || ' ' || last_qty::text || ' ' || last_price_e4::text || ' '
        || cum_qty::text || ' ' || leaves_qty::text || ' ' || coalesce(ref_execution_id, '')
    )
);

-- What an event changes of its order; the rest stands in orders.
CREATE TABLE order_events (
    order_id    text    NOT NULL,
    revision    int     NOT NULL,
    state       text    NOT NULL,
    cum_qty     bigint  NOT NULL,
    leaves_qty  bigint  NOT NULL,
    notional_e4 numeric NOT NULL,
    reason      text,
    text        text    NOT NULL,
    updated_ns  bigint  NOT NULL,
    PRIMARY KEY (order_id, revision)
);
INSERT INTO order_events
SELECT order_id, revision, state, cum_qty, leaves_qty, notional_e4, reason, text, updated_ns FROM orders;

-- What the rows of before lack is read from the log once more, as far back as it goes. That it does not go back further
-- than rows were made of it before is no hole.
ALTER TABLE projection_positions ADD COLUMN read_before bigint NOT NULL DEFAULT 0;
UPDATE projection_positions SET read_before = next_offset, next_offset = 0
WHERE topic IN ('orders.executions', 'orders.events');
