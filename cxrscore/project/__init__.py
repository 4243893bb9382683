"""A DVC project around a user's own radiographs: its settings, its data, what DVC and git are asked."""
