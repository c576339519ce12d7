"""The page of an export: one room in one file of HTML that needs no network, no script and no
other file.

Owns the markup and the style. All foreign text goes through `_text`. Any thread.
"""

from __future__ import annotations

import html
import time
from collections.abc import Iterable
from typing import Final, TextIO
from urllib.parse import quote

from server.archive.export.entries import Entry
from server.archive.export.writers import CONTROL_PICTURES
from storage.archives import Room

# default-src 'none': whatever a text may smuggle in, nothing is loaded and no script runs.
_HEAD: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --quiet: #57606a;
  --line: #d8dee4; --strong: #9a3b00; --raised: #fff4e5; }}
@media (prefers-color-scheme: dark) {{ :root {{ --ink: #e6edf3; --paper: #14181d;
  --quiet: #9aa4ae; --line: #30363d; --strong: #ffb27a; --raised: #33261a; }} }}
body {{ font: 1rem/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 52rem; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.5rem; margin: 0; overflow-wrap: anywhere; }}
h2 {{ font-size: 1rem; color: var(--quiet); border-bottom: 1px solid var(--line);
  margin: 2rem 0 .5rem; }}
.about {{ color: var(--quiet); margin: .25rem 0; }}
section {{ content-visibility: auto; contain-intrinsic-size: auto 40rem; }}
article {{ display: grid; grid-template-columns: 3.5rem 9rem 1fr; gap: 0 .75rem;
  padding: .15rem 0; }}
article a {{ color: var(--quiet); text-decoration: none; }}
article b {{ overflow-wrap: anywhere; }}
article p {{ margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: isolate; }}
.announcement {{ background: var(--raised); border-left: .25rem solid var(--strong);
  padding-left: .5rem; }}
.announcement p::before {{ content: "Announcement: "; color: var(--strong); font-weight: bold; }}
.removed p {{ color: var(--quiet); font-style: italic; }}
.file p a {{ color: inherit; text-decoration: underline; }}
@media (max-width: 40rem) {{ article {{ grid-template-columns: 3.5rem 1fr; }}
  article p {{ grid-column: 2; }} }}
@media print {{ :root {{ color-scheme: light; --ink: #000; --paper: #fff; --quiet: #444;
  --line: #bbb; --strong: #000; --raised: #fff; }}
  @page {{ margin: 15mm; }} body {{ max-width: none; margin: 0; padding: 0; font-size: 10pt; }}
  section {{ content-visibility: visible; }} h2 {{ break-after: avoid; }}
  article {{ break-inside: avoid; }} }}
</style>
</head>
<body>
"""


def write_page(file: TextIO, room: Room, made_at: int, entries: Iterable[Entry]) -> int:
    """Write the page of a room; return how many entries it has."""
    title = _text(room.name if room.name == room.room_id else f"{room.name} ({room.room_id})")
    kind = f"{'private' if room.private else 'open'} room{', deleted' if room.deleted else ''}"
    file.write(_HEAD.format(title=title))
    file.write(f'<header><h1>{title}</h1>\n<p class="about">A chat, {kind}. Exported ')
    file.write(f"{time.strftime('%Y-%m-%d %H:%M %z', time.localtime(made_at))}; ")
    file.write("times are those of the machine that exported it.</p></header>\n<main>\n")
    count, day, today = 0, (0, 0, 0), ""
    for entry in entries:
        count += 1
        moment = time.localtime(entry.sent_at)
        if moment[:3] != day:
            file.write("</section>\n" if today else "")
            day, today = moment[:3], time.strftime("%A, %Y-%m-%d", moment)
            file.write(f"<section><h2>{today}</h2>\n")
        file.write(_article(entry, f"{moment[3]:02d}:{moment[4]:02d}"))
    file.write("</section>\n" if today else '<p class="about">Nothing was said.</p>\n')
    file.write(f'</main>\n<footer><p class="about">{_counted(count)}.</p></footer>\n')
    file.write("</body>\n</html>\n")
    return count


def write_index(file: TextIO, rooms: Iterable[tuple[str, Room, int]]) -> None:
    """Write the page that leads to each room's: (file name, room, how many entries)."""
    file.write(_HEAD.format(title="The chat"))
    file.write("<header><h1>The chat</h1></header>\n<main><ul>\n")
    for name, room, count in rooms:
        about = f"{room.name}, private" if room.private else room.room_id
        file.write(f'<li><a href="{quote(name)}">{_text(about)}</a>: {_counted(count)}</li>\n')
    file.write("</ul></main>\n</body>\n</html>\n")


def _article(entry: Entry, clock: str) -> str:
    """Return the markup of one entry."""
    text, anchor = _text(entry.text), f"{'f' if entry.kind == 'file' else 'm'}{entry.number}"
    if entry.kind == "file":
        if entry.path:
            text = f'<a href="{quote(entry.path)}" download>{text}</a>'
        text = f"sent the file {text} ({entry.size:,} bytes)"
    return (
        f'<article id="{anchor}" class="{entry.kind}"><a href="#{anchor}">{clock}</a> '
        f'<b><bdi>{_text(entry.sender)}</bdi></b> <p dir="auto">{text}</p></article>\n'
    )


def _counted(count: int) -> str:
    return f"{count:,} {'entry' if count == 1 else 'entries'}"


def _text(text: str) -> str:
    """Return foreign text as markup that shows it and does nothing."""
    return html.escape(text.translate(CONTROL_PICTURES))
