-- The read side of the orders domain: a fold of the committed log, together with how far the log was read.
-- Money in 1e-4 currency units (_e4), times in nanoseconds since the epoch (_ns), as in the contracts.

CREATE TABLE projection_positions (
    topic       text   NOT NULL,
    partition   int    NOT NULL,
    next_offset bigint NOT NULL,
    PRIMARY KEY (topic, partition)
);

CREATE TABLE orders (
    order_id        text    PRIMARY KEY,
    account_id      text    NOT NULL,
    client_order_id text    NOT NULL,
    symbol          text    NOT NULL,
    instrument_id   int,
    side            text    NOT NULL,
    order_type      text    NOT NULL,
    time_in_force   text    NOT NULL,
    qty             bigint  NOT NULL,
    limit_price_e4  bigint,
    state           text    NOT NULL,
    cum_qty         bigint  NOT NULL,
    leaves_qty      bigint  NOT NULL,
    notional_e4     numeric NOT NULL,
    reason          text,
    text            text    NOT NULL,
    revision        int     NOT NULL,
    sent_ns         bigint  NOT NULL,
    updated_ns      bigint  NOT NULL,
    number          bigint  GENERATED ALWAYS AS IDENTITY
);
CREATE INDEX orders_by_account ON orders (account_id, number);

CREATE TABLE executions (
    execution_id  text   PRIMARY KEY,
    exec_type     text   NOT NULL,
    order_id      text   NOT NULL,
    account_id    text   NOT NULL,
    symbol        text   NOT NULL,
    side          text   NOT NULL,
    last_qty      bigint NOT NULL,
    last_price_e4 bigint NOT NULL,
    cum_qty       bigint NOT NULL,
    leaves_qty    bigint NOT NULL,
    venue_ns      bigint NOT NULL,
    text          text   NOT NULL,
    number        bigint GENERATED ALWAYS AS IDENTITY
);
CREATE INDEX executions_by_account ON executions (account_id, number);
CREATE INDEX executions_by_order ON executions (order_id);

-- One row per record of risk.decisions, repeats included: the record's own place in the log is its key.
CREATE TABLE decisions (
    partition        int    NOT NULL,
    record_offset    bigint NOT NULL,
    account_id       text   NOT NULL,
    client_order_id  text   NOT NULL,
    order_id         text   NOT NULL,
    accepted         bool   NOT NULL,
    reason           text,
    compared         jsonb  NOT NULL,
    conflict         text,
    repeat           bool   NOT NULL,
    reserved_cash_e4 bigint NOT NULL,
    reserved_qty     bigint NOT NULL,
    account_seq      bigint NOT NULL,
    decided_ns       bigint NOT NULL,
    intent_partition int    NOT NULL,
    intent_offset    bigint NOT NULL,
    PRIMARY KEY (partition, record_offset)
);
CREATE INDEX decisions_by_order ON decisions (order_id);

CREATE TABLE command_results (
    partition     int    NOT NULL,
    record_offset bigint NOT NULL,
    account_id    text   NOT NULL,
    command_id    text   NOT NULL,
    accepted      bool   NOT NULL,
    reason        text,
    compared      jsonb  NOT NULL,
    repeat        bool   NOT NULL,
    status        text,
    account_seq   bigint NOT NULL,
    decided_ns    bigint NOT NULL,
    PRIMARY KEY (partition, record_offset)
);
CREATE INDEX command_results_by_account ON command_results (account_id, command_id);

CREATE TABLE accounts (
    account_id text   PRIMARY KEY,
    status     text   NOT NULL DEFAULT 'UNKNOWN',
    ledger_seq bigint NOT NULL DEFAULT 0
);

CREATE TABLE ledger_entries (
    account_id   text   NOT NULL,
    seq          bigint NOT NULL CHECK (seq >= 1),
    kind         text   NOT NULL,
    postings     jsonb  NOT NULL,
    order_id     text,
    command_id   text,
    execution_id text,
    booked_ns    bigint NOT NULL,
    PRIMARY KEY (account_id, seq)
);

-- The fold of ledger_entries, kept in step with them in the same transaction.
CREATE TABLE balances (
    account_id text    NOT NULL,
    book       text    NOT NULL,
    asset      text    NOT NULL,
    amount     numeric NOT NULL,
    PRIMARY KEY (account_id, book, asset)
);
