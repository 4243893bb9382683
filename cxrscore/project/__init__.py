"""A DVC project around one's own radiographs: its settings, options and data, what DVC and git are asked."""
