"""Scores and truth -> figures, and how sure they are: pure functions on arrays, without files and tables."""
