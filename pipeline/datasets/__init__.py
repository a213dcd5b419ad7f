"""Data sets as they are published, read into one manifest; splits by patient."""
