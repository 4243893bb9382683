"""Listed files -> pixels in shared memory, by processes that may die: one path for all who read images."""
