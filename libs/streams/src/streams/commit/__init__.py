"""The commit in five numbered steps: a batch is handled, collected, and written in one transaction."""
