SELECT reason, count(*) AS letters, min(created_at) AS oldest_at
FROM "DeadLetter"
WHERE status = 'OPEN'
GROUP BY reason
ORDER BY letters DESC, reason
