"""Label tables of the field's datasets, each read into the same columns."""
