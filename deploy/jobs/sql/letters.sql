-- What the log decides of events that were not charged: letters of the streams, and duplicates, whether proven
-- or not. A replay of a letter that came to nothing is none.
SELECT letter.partition, coalesce(letter.customer_id, '') AS customer_id,
    CASE letter.found_by WHEN 'streams' THEN 'dead-letter' ELSE 'duplicate' END AS verdict,
    letter.partition || ':' || letter."offset" || ':' || letter.index AS key,
    jsonb_strip_nulls(jsonb_build_object(
        'event_id', lower(letter.event_id),
        'reason', CASE letter.found_by WHEN 'streams' THEN letter.reason END
    )) AS facts
FROM {ledger}."DeadLetter" AS letter
JOIN span ON letter.partition = span.partition AND letter.epoch = span.epoch
    AND letter."offset" >= span.first AND letter."offset" < span.following
WHERE %(is_of_raw)s AND %(features)s::text[] = '{{}}'
    AND (letter.found_by = 'streams' OR (
        letter.reason = 'ORIGINAL_NOT_CHARGED' AND letter.replay_of IS NULL AND %(models)s::text[] = '{{}}'
    ))
    AND (%(customers)s::text[] = '{{}}' OR letter.customer_id = ANY (%(customers)s))
    AND (%(models)s::text[] = '{{}}' OR letter.model = ANY (%(models)s))
UNION ALL
SELECT repeated.partition, repeated.customer_id, 'duplicate',
    repeated.partition || ':' || repeated."offset" || ':' || repeated.index,
    jsonb_build_object('event_id', repeated.event_id)
FROM {ledger}."DuplicateEvent" AS repeated
JOIN span ON repeated.partition = span.partition AND repeated.epoch = span.epoch
    AND repeated."offset" >= span.first AND repeated."offset" < span.following
-- A duplicate's row knows neither model nor feature.
WHERE %(is_of_raw)s AND repeated.replay_of IS NULL
    AND %(features)s::text[] = '{{}}' AND %(models)s::text[] = '{{}}'
    AND (%(customers)s::text[] = '{{}}' OR repeated.customer_id = ANY (%(customers)s))
