-- A hash per partition and customer, of each ledger.
SELECT partition, customer_id, count(live)::int AS live, count(shadow)::int AS shadow,
    coalesce(md5(string_agg(md5(concat(verdict, key, live)), '' ORDER BY verdict, key)
        FILTER (WHERE live IS NOT NULL)), '') AS live_hash,
    coalesce(md5(string_agg(md5(concat(verdict, key, shadow)), '' ORDER BY verdict, key)
        FILTER (WHERE shadow IS NOT NULL)), '') AS shadow_hash
FROM compared GROUP BY partition, customer_id ORDER BY partition, customer_id
