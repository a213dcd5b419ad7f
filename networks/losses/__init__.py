"""Losses: one a file, the equation in the docstring."""
