"""`python -m support.reference_server [PORT]`: serve until the process ends."""

from __future__ import annotations

import sys
import threading

from support.reference_server import ReferenceServer

server = ReferenceServer(int(sys.argv[1]) if len(sys.argv) > 1 else 0).start()
print(f"listening on 127.0.0.1:{server.port}", flush=True)
threading.Event().wait()
