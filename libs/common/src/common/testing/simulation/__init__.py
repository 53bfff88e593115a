"""A deterministic simulation of the stage: one seed makes one history (see README.md here)."""
