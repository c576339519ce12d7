"""Pages that a program shows while it runs, for one teacher and a class: a small web server.

Neutral: knows nothing of chat or kit and imports nothing of ours. A program makes a `Page`, tells
it events, and answers acts; what is drawn is the business of the page's own assets (HTML, CSS and
JavaScript files as they are, without a build step).

    page = Page("127.0.0.1", 8080, folder_of_assets, "Relay", {"row": row, "drop": drop},
                viewers_may={"row"})
    page.start()
    print(page.link)       # controls: with a token of 192 bits in the fragment, for one browser
    print(page.wall_link)  # looks on: for the wall and the class, may only do `viewers_may`
    page.publish({"kind": "frame", "row": 1})
    page.close()

* `folder_of_assets` is a folder with `index.html`: a path, or `importlib.resources.files(PACKAGE)`,
  which works inside a `.pyz` too. Its files are read once, at the start.
* `publish(event)` takes any JSON object from any thread and never blocks. Events are numbered and
  kept in one bounded ring. A viewer who falls behind its end is told how many are missing (by an
  event `{"kind": "gap", "lost": 17}`); one who takes nothing for 10 s is dropped. Nobody waits.
* Each viewer is first told `{"kind": "hello", "run": ..., "title": ..., "role": "control"|"view",
  "state": ...}`, where `state` is what the program's function `state` returns at that moment: put
  there what must be known although its events may have left the ring (open connections, names,
  faults). The events of the ring follow; so an event may tell again what `state` told.
* `acts` are functions from a JSON object to a JSON object: `POST /act/NAME`, at most 64 KiB. An act
  raises `ActRefused("why")` for what can't be done; the page shows the sentence. Acts run in the
  threads of requests, several at once. A viewer of the wall may call only `viewers_may`; for all
  others it is answered with 403. Acts must not block: answer within a second.
* `programs` are acts for programs instead of browsers (students' kits that tell a board): `POST
  /program/NAME`, JSON too, with `page.code` in the header `X-Page-Code`. The code is short enough
  to be typed from the wall; give `code` again after a restart to keep it. A wrong one is answered
  after half a second.
* With `kept`, a file of the user's own, a page that is open goes on by itself when the program is
  started again at the same port. `new_links(page, print)` gives who has lost the first link a new
  one, by `l` and Enter in the terminal of the program.

What protects it is listed in SECURITY.md, point by point, and tested in `tests/webpage/`.
"""

from webpage.page import Page
from webpage.refusals import ActRefused
from webpage.terminal_key import new_links

__all__ = ["ActRefused", "Page", "new_links"]
