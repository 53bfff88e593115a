-- What a reader of the rows must know of how they came about.

-- Records that their topic did not keep any more when the projection came to read them: no rows were made of them.
CREATE TABLE projection_holes (
    topic        text        NOT NULL,
    partition    int         NOT NULL,
    first_offset bigint      NOT NULL,
    end_offset   bigint      NOT NULL,
    noticed_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition, first_offset)
);

-- Every time that somebody had the rows made anew from the log (`tidemark projection rebuild`); it outlives the rows.
CREATE TABLE IF NOT EXISTS projection_rebuilds (
    began_at    timestamptz NOT NULL DEFAULT now() PRIMARY KEY,
    requested_by text       NOT NULL,
    reason      text        NOT NULL,
    rows_before jsonb       NOT NULL
);
