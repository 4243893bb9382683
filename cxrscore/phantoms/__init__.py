"""How a synthetic radiograph is drawn: cohort, anatomy, findings, devices, film."""
