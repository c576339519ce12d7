"""A report as one HTML page that needs nothing else: no script, no other file, light or dark as the
reader has it."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any, Final

from benchmarks import plots, targets

__all__ = ["html"]

STYLE: Final = Path(__file__).with_name("page.css").read_text("utf-8")

CAPTIONS: Final = {
    "cpu": (
        "What one delivery costs the server: its own CPU time, by the messages that arrived. "
        "This is the figure that does not depend on how fast the load is, so it is the one to "
        "compare. The others store, count and confirm nothing."
    ),
    "latency": (
        "Read it from the left: half of all deliveries were there within the first figure, "
        "and one in a thousand took longer than the mark 99.9 %. A line that stays low to the "
        "right end is a server that makes nobody wait."
    ),
    "latency-workloads": (
        "Both handshakes mean that every receiver counts the letters, and every count is "
        "checked. The whole room talks as fast as it can, so the server is always busy; a "
        "class that types is far to the left of all this."
    ),
    "latency-rest": (
        "The server has nothing else to do here, so this is the way itself: two turns with "
        "the sender, one commit with its sync to the disk, and the sends."
    ),
    "throughput": (
        "Larger rooms deliver more, since one commit and one look at a message serve more "
        "receivers."
    ),
    "cost": (
        "What a delivery costs falls while the cost of the message itself is shared by more "
        "receivers, and then stays."
    ),
    "memory": (
        "A straight line: a client costs the same, however many there are. Most of it is the "
        "thread's stack and the connection."
    ),
}
SECTIONS: Final = (
    (
        "Beside others",
        "The same workload for all of them, one after another in the same run.",
        ("cpu", "latency"),
    ),
    (
        "Under each load",
        "A room of 200 as fast as it goes, and at the pace of people.",
        ("latency-workloads", "latency-rest"),
    ),
    (
        "As it grows",
        "A thread for each client does not mean that each client costs more than the last.",
        ("throughput", "cost", "memory"),
    ),
)


def html(report: dict[str, Any]) -> str:
    """Return the whole page."""
    about = report["machine"]
    made = plots.all_plots(report)
    where = f"{about['cores']} cores of {about['processor']}, {about['python']}, {about['system']}"
    where_and_when = (
        f"<p>Measured {escape(report['when'][:10])} on {escape(where)}. The server and the load "
        "that asks everything of it share "
        "these cores. Every message went through the whole handshake and was on the disk, synced, "
        "before anybody heard of it.</p>"
    )
    body = ["<h1>How fast the chat is</h1>", where_and_when, _tiles(report["results"])]
    for title, text, names in SECTIONS:
        if figures := [name for name in names if name in made]:
            cards = "".join(
                f'<figure class="card">{made[name]}<figcaption>'
                f"{escape(CAPTIONS[name])}</figcaption></figure>"
                for name in figures
            )
            body.append(
                f'<h2>{escape(title)}</h2><p class="soft">{escape(text)}</p><div '
                f'class="grid">{cards}</div>'
            )
    body += [_targets(report["results"], made.get("targets", "")), _details(report)]
    title = "How fast the chat is"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/><meta name="viewport" '
        'content="width=device-width, initial-scale=1"/>'
        f"<title>{title}</title><style>{STYLE}</style></head><body><main>{''.join(body)}</main>"
        "</body></html>\n"
    )


def _tiles(results: dict[str, Any]) -> str:
    """Return the few figures that say most."""
    ours = {
        name: results[name]["servers"]["ours"]
        for name in ("room", "both", "rest")
        if name in results
    }
    found: list[tuple[str, str]] = []
    if "room" in ours:
        found.append((f"{ours['room']['per_second']:,.0f}", "deliveries a second in a full room"))
    if "both" in ours:
        found.append(
            (
                f"{ours['both']['per_second']:,.0f}",
                "a second with every receiver's letters counted and checked",
            )
        )
    if "rest" in ours:
        found.append(
            (f"{ours['rest']['p50_ms']:.1f} ms", "from sending to reading, at the pace of people")
        )
    if "idle" in results:
        found.append((f"{results['idle']['clients']:,}", "clients at once, a thread each"))
    if "mass_login" in results:
        found.append(
            (
                f"{results['mass_login']['back_seconds']:.2f} s",
                f"and {results['mass_login']['students']} students are back after a lost network",
            )
        )
    if "past" in results:
        found.append(
            (
                f"{results['past']['pages']['newest']['huge']:.1f} ms",
                f"for a page of {results['past']['rooms']['huge']:,} messages",
            )
        )
    if "files" in results:
        found.append(
            (
                f"{results['files']['down_mb_per_second']:,.0f} MB/s",
                "to fetch a file, while others chat",
            )
        )
    tiles = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(text)}</span></div>'
        for value, text in found
    )
    return f'<div class="tiles">{tiles}</div>'


def _targets(results: dict[str, Any], plot: str) -> str:
    marks = {
        True: '<span class="mark yes">reached</span>',
        False: '<span class="mark no">not reached</span>',
    }
    lines = []
    for row in targets.rows(results):
        mark = (
            '<span class="mark none">not measured</span>'
            if row.reached is None
            else marks[row.reached]
        )
        limit = ("at least " if row.at_least else "at most ") + targets.shown(row.limit, row.unit)
        value = "" if row.measured is None else targets.shown(row.measured, row.unit)
        lines.append(
            f"<tr><td><code>{escape(row.workload)}</code></td><td>{escape(row.what)}</td><td "
            f'class="n">{escape(value)}</td>'
            f'<td class="n">{escape(limit)}</td><td>{mark}</td></tr>'
        )
    return (
        '<h2>What was to be reached</h2><p class="soft">Ratios are of CPU time for each delivery, '
        "ours by the other's, from rounds that "
        "followed each other; × 0.2 means a fifth of the other's cost.</p>"
        + (f'<figure class="card">{plot}</figure><br/>' if plot else "")
        + '<div class="card scroll"><table><thead><tr><th>workload</th><th>figure</th><th '
        'class="n">measured</th><th class="n">target</th><th></th></tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _details(report: dict[str, Any]) -> str:
    results, lines = report["results"], []
    for name, found in results.items():
        for server, figures in found.get("servers", {}).items():
            cpu = "" if figures["cpu_us"] is None else f"{figures['cpu_us']:.2f}"
            label = plots.NAMES.get(server, (server, 0))[0]
            cells = (
                f"{figures['per_second']:,.0f}",
                cpu,
                f"{figures['p50_ms']:.2f}",
                f"{figures['p99_ms']:.2f}",
                f"{figures['max_ms']:.1f}",
            )
            lines.append(
                f"<tr><td><code>{escape(name)}</code></td><td>{escape(label)}</td>"
                + "".join(f'<td class="n">{cell}</td>' for cell in cells)
                + "</tr>"
            )
    skipped = {
        name: reason
        for found in results.values()
        for name, reason in found.get("skipped", {}).items()
    }
    missing = "".join(
        f"<li>{escape(plots.NAMES[name][0])}: {escape(reason)}</li>"
        for name, reason in skipped.items()
    )
    head = "".join(
        f'<th class="n">{text}</th>'
        for text in ("deliveries/s", "CPU µs each", "p50 ms", "p99 ms", "worst ms")
    )
    sizes = report["sizes"]
    return (
        (_every_figure(head, lines) if lines else "")
        + (f"<p>Not installed here, so left out:</p><ul>{missing}</ul>" if missing else "")
        + f"<footer>{sizes['repeat']} round{'s' if sizes['repeat'] != 1 else ''} of "
        f"{sizes['seconds']:g} s for each server, medians; the whole run took "
        f"{report['seconds']:.0f} s. The load and the server share the cores, and so does "
        "whatever else runs here: compare within one page, "
        "not across machines. <code>make bench</code> measures yours; docs/PERFORMANCE.md says "
        "how, and what limits each figure.</footer>"
    )


def _every_figure(head: str, lines: list[str]) -> str:
    return (
        '<h2>Every figure</h2><div class="card scroll"><table><thead><tr><th>workload</th><th>'
        "server</th>"
        f"{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )
