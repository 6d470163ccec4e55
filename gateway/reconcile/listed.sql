-- Each listed event beside what the ledger holds of it, in the list's order.
SELECT asked.row, fate.*, asked.credits AS listed_credits, asked.cost_usd AS listed_cost_usd
FROM asked JOIN fate USING (customer_id, id)
ORDER BY asked.row
