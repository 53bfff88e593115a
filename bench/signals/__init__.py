"""Bars of a second with enrichment and jumps, on Tidemark's runtime and on its peers."""
