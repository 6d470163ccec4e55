UPDATE "AuditProof"
SET epoch = %(epoch)s, next_offset = %(next_offset)s, proven_at = %(seen_at)s,
    batches = batches + %(batches)s, charged = charged + %(charged)s,
    duplicates = duplicates + %(duplicates)s, conflicts = conflicts + %(conflicts)s,
    dead_letters = dead_letters + %(dead_letters)s, refused = refused + %(refused)s
WHERE topic = %(topic)s AND partition = %(partition)s
