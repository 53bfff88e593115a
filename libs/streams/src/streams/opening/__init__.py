"""The opening in its one safe order: fence, read the end, restore, verify, seek."""
