"""What is given, a folder, a pattern, a table or an archive -> which files there are, and where."""
