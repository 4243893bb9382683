"""A DVC project around one's own radiographs: its settings, its data, what DVC and git are asked."""
