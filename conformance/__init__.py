"""The conformance kit: grades any chat server or client of docs/PROTOCOL.md, in any language, from
outside.

Standard library only; nothing of the server, the client or `protocol.py` is imported, so this
folder (or `conformance.pyz`) is all that a student needs: `python -m conformance server HOST:PORT`.
See `conformance/server/context.py` for how a case is written.

Every Python from 2.7 can read this file, so that an old one ends with a sentence.
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036  what follows is no syntax for an older one
    sys.exit(
        "conformance needs Python 3.10 or newer, and this is Python "
        + sys.version.split()[0]
        + " ("
        + sys.executable
        + "): get a newer one at https://www.python.org/downloads/"
    )

VERSION = "1"
