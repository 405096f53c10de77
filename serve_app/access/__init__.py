"""Who may do what: keys, what each may spend, and what belongs to whom."""
