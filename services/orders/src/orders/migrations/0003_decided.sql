-- When the gate decided on an order, and where its intent stands in the log: what orders are ordered by.

ALTER TABLE orders ADD COLUMN decided_ns bigint NOT NULL DEFAULT 0;
ALTER TABLE orders ADD COLUMN intent_offset bigint NOT NULL DEFAULT -1;
ALTER TABLE command_results ADD COLUMN resting text;
