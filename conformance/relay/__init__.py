"""The relay: stands between clients and any server, passes everything on as it came, and shows it.

From below: `frames` cuts a stream, `streams` are sockets with and without TLS, `traffic` numbers
and keeps what passed, `way` carries one direction, `connection` carries both, `listening` accepts
clients, `command` is the command line.
"""
