"""The scorer's engine: which files there are, and their pixels in that order."""
