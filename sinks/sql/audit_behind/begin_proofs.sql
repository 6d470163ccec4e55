-- A partition is proven from where it stands when it is first seen: a new one, from its beginning.
INSERT INTO "AuditProof" (topic, partition, epoch, next_offset)
SELECT topic, partition, epoch, next_offset FROM "SinkOffset" WHERE topic = %(topic)s
ON CONFLICT DO NOTHING
