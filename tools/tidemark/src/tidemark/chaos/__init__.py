"""Real faults against real processes: a seeded storm, invariants watched meanwhile, and how long recovery took."""
