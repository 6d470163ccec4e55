"""`burnstream archive`: raw records with their offsets in Parquet, and how they are read back."""
