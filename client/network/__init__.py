"""One connection to a server: TCP, TLS, and who answers where no chat server does.

Knows frames, and no packets.
"""
