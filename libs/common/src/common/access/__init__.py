"""Who asks, and whether he may: identities from tokens and keys, and the table of rights where a request enters."""
