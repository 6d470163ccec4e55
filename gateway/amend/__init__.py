"""Events that were charged and should not have been: voided or replaced by their ids."""
