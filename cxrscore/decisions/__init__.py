"""Scores -> what is decided by them: calibrated probabilities, calls, and which cells are left undecided."""
