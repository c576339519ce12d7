"""Small chat servers to compare with: the same wire, and nothing stored, counted or checked, except
by those that keep the same promises (`asyncio_promises`, `selectors_promises`).

Each is a program of its own, `python -m benchmarks.peer_servers.NAME`, which prints `listening on
HOST:PORT` and serves until it is ended.
"""
