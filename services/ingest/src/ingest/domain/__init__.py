"""Pure market-data code: bytes in, values out. No clock, no I/O, no logging; randomness only from a seed."""
