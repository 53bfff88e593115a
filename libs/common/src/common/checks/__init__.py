"""The rules of the gate, each of them once: what a check is, what it may look at, and the ordered tuple of all of them.

Both paths of the gate are made from the tuple: one runs the checks as they are, on structs; the other compiles them
(``common.compiled_checks``) and runs them on rows of arrays that have the same field names. Documentation, the API's
description and the metrics are made from it, too.
"""
