"""Reading the ledger: folds of the committed log, its hash chain, digests of rows, the gate's rows as others see them.

The audit, the live auditor and the storm share this; the gate, whose work is judged by it, imports none of it.
"""
