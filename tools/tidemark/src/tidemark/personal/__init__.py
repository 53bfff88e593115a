"""Personal data where it leaves the fleet: a key for each client, pseudonyms, erasure."""
