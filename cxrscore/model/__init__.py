"""Pixels -> probabilities: backbone, label head, losses, checkpoints, ensembles."""
