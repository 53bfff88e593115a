"""State of tasks: the store on disk, the overlay of a running batch, snapshots, copies of whole topics."""
