"""The server: everything between a client's socket and the storage."""
