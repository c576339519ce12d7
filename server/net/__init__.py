"""Sockets, TLS and the bytes that wait to be sent."""
