"""What one core can hash: a process of its own. `python -m benchmarks.hashes SECONDS` prints scrypt
hashes a second as JSON.

With the cost that passwords have on a server started with no options (`--password-cost 14`).
"""

from __future__ import annotations

import hashlib
import json
import sys
import time


def main() -> int:
    """Hash for the seconds of the first argument, and print the rate as JSON."""
    begun, count = time.perf_counter(), 0
    while time.perf_counter() - begun < float(sys.argv[1]):
        hashlib.scrypt(
            b"load", salt=count.to_bytes(16, "big"), n=1 << 14, r=8, p=1, maxmem=64 << 20, dklen=32
        )
        count += 1
    print(json.dumps({"per_second": count / (time.perf_counter() - begun)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
