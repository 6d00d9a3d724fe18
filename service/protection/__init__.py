"""Who may do how much: keys, quotas, deadlines, guarded addresses."""
