-- Nobody may have gone on meanwhile.
UPDATE "SinkOffset" SET rated_offset = %(rated_offset)s
WHERE topic = %(topic)s AND partition = %(partition)s AND epoch = %(epoch)s
    AND next_offset = %(next_offset)s AND rated_offset = %(known)s
