"""Decisions of the auditor, without I/O: comparing rows with the fold, matching trades with postings."""
