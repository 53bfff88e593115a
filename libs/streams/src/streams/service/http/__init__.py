"""How our servers speak HTTP: what a connection, a header, a body and a client may take."""
