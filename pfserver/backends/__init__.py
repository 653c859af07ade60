"""Who does the work: each backend stands behind IBackend and knows no other."""
