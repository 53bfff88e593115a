"""The live auditor: a process of its own that folds the committed log and compares every store with it, for ever."""
