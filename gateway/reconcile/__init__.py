"""`burnstream reconcile`: what somebody says there was, beside what was charged, and why."""
