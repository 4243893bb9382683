"""A call of the Python API: its arguments checked, its results as records and polars frames."""
