-- How far the audit behind the sinks has proven each partition. What is proven of it is one row,
-- however many batches that were: a look reads only the batches beyond.
CREATE TABLE "AuditProof" (
    topic text NOT NULL,
    partition integer NOT NULL,
    epoch integer NOT NULL,
    next_offset bigint NOT NULL,
    batches bigint NOT NULL DEFAULT 0,
    charged bigint NOT NULL DEFAULT 0,
    duplicates bigint NOT NULL DEFAULT 0,
    conflicts bigint NOT NULL DEFAULT 0,
    dead_letters bigint NOT NULL DEFAULT 0,
    refused bigint NOT NULL DEFAULT 0,
    started_at timestamptz NOT NULL DEFAULT now(),
    proven_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition)
);

-- The counts of a batch are compared with the rows of its own time.
CREATE INDEX "RatedBatch_created" ON "RatedBatch" USING brin (created_at);
