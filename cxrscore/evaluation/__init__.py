"""Scores and truth -> statistics, and the pictures of them."""
