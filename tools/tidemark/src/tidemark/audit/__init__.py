"""The audit: folds the committed ledger anew and compares it with every place that holds a copy of what it says."""
