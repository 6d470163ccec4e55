-- Events of the span that only one of the two ledgers charged.
SELECT
    (SELECT count(*) FROM {shadow}."UsageEvent" AS should WHERE NOT EXISTS (
        SELECT FROM {live}."UsageEvent" AS usage
        WHERE usage.customer_id = should.customer_id AND usage.id = should.id)) AS not_billed,
    (SELECT count(*) FROM {shadow}."DeadLetter" AS letter WHERE EXISTS (
        SELECT FROM {live}."UsageEvent" AS usage
        WHERE usage.customer_id = letter.customer_id AND usage.id::text = lower(letter.event_id))) AS no_longer_priced
