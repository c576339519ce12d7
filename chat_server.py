"""Entry point of the server: which Python it needs, and then the program. Nobody imports it.

python chat_server.py                 serves until Ctrl-C
python chat_server.py adduser NAME    and the other commands of `--help` look after accounts, also
                                      while the server runs

Every Python from 2.7 can read this file, so that an old one ends with a sentence.
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036  what follows is no syntax for an older one
    sys.exit(
        "chat_server.py needs Python 3.10 or newer, and this is Python "
        + sys.version.split()[0]
        + " ("
        + sys.executable
        + "): get a newer one at https://www.python.org/downloads/"
    )

from server.program import main

if __name__ == "__main__":
    # Threads that would not end are daemons; leaving by os._exit would skip what coverage and
    # others do at exit.
    sys.exit(main())
