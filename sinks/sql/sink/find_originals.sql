-- The charged events that corrections name, by the number (from 1) of the correction.
SELECT asked.number, event.created_at, event.credits_burned
FROM unnest(%(customers)s::text[], %(ids)s::uuid[]) WITH ORDINALITY AS asked (customer_id, event_id, number)
JOIN "UsageEvent" AS event ON event.customer_id = asked.customer_id AND event.id = asked.event_id
