-- The hashes of a partition's customers in one.
SELECT partition, count(*)::int AS customers, sum(live)::int AS live, sum(shadow)::int AS shadow,
    md5(string_agg(customer_id || live_hash, ' ' ORDER BY customer_id)) AS live_hash,
    md5(string_agg(customer_id || shadow_hash, ' ' ORDER BY customer_id)) AS shadow_hash
FROM hashes GROUP BY partition ORDER BY partition
