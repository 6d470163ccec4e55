-- The next events that cost other than they should, behind one of them.
SELECT customer_id, id, user_id, team_id, wallet_id, burn_id, credits_before, credits_after
FROM {shadow}."Difference"
WHERE credits_before <> credits_after AND NOT is_corrected AND (customer_id, id) > (%(customer)s, %(event)s::uuid)
ORDER BY customer_id, id
LIMIT %(limit)s
