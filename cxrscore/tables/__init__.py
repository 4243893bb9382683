"""Tables and labels: CSV files of text, label tables, folds, score tables, and what labels alone decide."""
