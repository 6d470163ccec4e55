"""`burnstream import`: events of a file to `usage.raw`, charged once however often it runs."""
