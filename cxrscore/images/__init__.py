"""Radiographs: where they lie, what formats say of them, how they are decoded, and the prepared store."""
