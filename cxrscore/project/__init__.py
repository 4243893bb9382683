"""A DVC project around a user's own radiographs: settings, options, data, and what DVC and git are asked."""
