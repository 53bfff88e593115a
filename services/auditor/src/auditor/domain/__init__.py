"""What the auditor decides, without I/O: comparing rows with the fold, matching trades with postings."""
