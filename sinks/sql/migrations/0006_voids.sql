-- Events that a correction of the log has undone.

CREATE TABLE "VoidedEvent" (
    customer_id text NOT NULL,
    event_id uuid NOT NULL,
    -- The event that the correction brought to the ledger: one that takes the place, or the void's own.
    voided_by uuid NOT NULL,
    is_replaced boolean NOT NULL,
    reason text NOT NULL,
    requested_by text,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- Nothing is voided twice.
    PRIMARY KEY (customer_id, event_id)
);

-- Transactions beyond the burn, of an event: few. A burn is found by the blocks of its time.
CREATE INDEX "CreditTransaction_of_event" ON "CreditTransaction" (customer_id, usage_event_id)
    WHERE idempotency_key IS NOT NULL AND usage_event_id IS NOT NULL;

-- What was undone, for analysts.
CREATE VIEW voids AS
SELECT customer_id, event_id, voided_by, is_replaced, reason, requested_by, created_at
FROM "VoidedEvent";
