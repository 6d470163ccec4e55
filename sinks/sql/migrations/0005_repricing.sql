-- What repricings corrected, for analysts: rows of the ledger like any other, told by their keys.

CREATE VIEW corrections AS
SELECT
    metadata->>'job' AS job, customer_id, usage_event_id AS event_id, id AS transaction_id,
    metadata->>'corrects' AS corrects, wallet_id, -amount AS credits, created_at
FROM "CreditTransaction"
WHERE idempotency_key LIKE 'reprice:%' AND usage_event_id IS NOT NULL;

-- Charges as they were billed (`credits`) and as they stand, corrections included (`credits_corrected`).
CREATE VIEW charges_corrected AS
SELECT charges.*, charges.credits + coalesce(corrected.credits, 0) AS credits_corrected
FROM charges
LEFT JOIN (
    SELECT customer_id, event_id, sum(credits)::bigint AS credits FROM corrections GROUP BY customer_id, event_id
) AS corrected USING (customer_id, event_id);
