"""A stage in a process: one task for each partition, standbys, and what is given up."""
