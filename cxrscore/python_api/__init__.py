"""The functions of the Python API: arguments checked, one call, results as records and polars frames."""
