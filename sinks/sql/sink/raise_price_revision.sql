-- After a restore the revision may stand below what readers have seen, and they keep the highest.
UPDATE "PriceRevision" SET revision = %(seen)s + 1 WHERE revision < %(seen)s
