"""The trainings of an ablation of label heads, and the table that compares them."""
