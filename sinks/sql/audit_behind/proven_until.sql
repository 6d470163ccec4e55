SELECT min(proven_at) FROM "AuditProof" WHERE topic = %(topic)s
