"""The conformance kit: grades any chat server or client of docs/PROTOCOL.md, in any language, from
outside.

Standard library only; nothing of the server, the client or `protocol.py` is imported, so this
folder (or `conformance.pyz`) is all that a student needs: `python -m conformance server HOST:PORT`.
See `conformance/server/context.py` for how a case is written.
"""

VERSION = "1"
