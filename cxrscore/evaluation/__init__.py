"""Scores and labels joined, and the pictures of what was measured."""
