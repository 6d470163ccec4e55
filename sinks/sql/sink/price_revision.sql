SELECT revision FROM "PriceRevision"
