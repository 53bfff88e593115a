"""The issuer of a fleet on this machine: it signs in whoever holds the state directory, and whom he lets in."""
