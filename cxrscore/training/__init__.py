"""Training one fold: its rows, one step, the epochs, what is kept of it, and the processes that share it."""
