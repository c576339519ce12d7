"""A report as one HTML page that needs nothing else: no script, no other file, light or dark as the
reader has it."""

from __future__ import annotations

from html import escape
from typing import Any, Final

from benchmarks import plots, targets

__all__ = ["html"]

STYLE: Final = """
:root{color-scheme:light dark;--paper:#f5f7fa;--card:#fff;--ink:#1b2430;--soft:#5d6878;--line:#e1e6ed;--good:#067647;--goodbg:#dcfae6;--bad:#b42318;
--badbg:#fee4e2;--accent:#2563eb}
@media(prefers-color-scheme:dark){:root{--paper:#0d1117;--card:#141a22;--ink:#e8edf4;--soft:#98a4b5;--line:#2a3441;--good:#5fe0a5;--goodbg:#0d3a26;
--bad:#ff9c92;--badbg:#4a1712;--accent:#6ea8ff}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.6 system-ui,-apple-system,"Segoe UI",Roboto,Arial,sans-serif}
main{max-width:1120px;margin:0 auto;padding:48px 20px 80px}h1{font-size:clamp(28px,5vw,44px);line-height:1.15;margin:0 0 12px;letter-spacing:-.02em}
h2{font-size:24px;margin:56px 0 6px;letter-spacing:-.01em}p{max-width:70ch;margin:8px 0 16px}.soft{color:var(--soft)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(200px,1fr));gap:14px;margin:28px 0}
.tile,.card{background:var(--card);border:1px solid var(--line);border-radius:14px}.tile{padding:18px 20px}
.tile b{display:block;font-size:30px;line-height:1.2;letter-spacing:-.02em;font-variant-numeric:tabular-nums}.tile span{color:var(--soft);font-size:14px}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr));gap:18px}.card{padding:6px;margin:0}
.card svg{display:block;width:100%;height:auto}.card figcaption{padding:4px 16px 14px;color:var(--soft);font-size:14.5px}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:9px 14px;border-top:1px solid var(--line);text-align:left}thead th{border:0;color:var(--soft);font-weight:500;font-size:14px}
td.n,th.n{text-align:right;white-space:nowrap}.mark{display:inline-block;padding:1px 10px;border-radius:99px;font-size:13.5px;font-weight:600;white-space:nowrap}
.yes{color:var(--good);background:var(--goodbg)}.no{color:var(--bad);background:var(--badbg)}.none{color:var(--soft);background:var(--line)}
code{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}footer{margin-top:56px;color:var(--soft);font-size:14.5px}
"""

CAPTIONS: Final = {
    "cpu": "What one delivery costs the server: its own CPU time, by the messages that arrived. This is the figure that does not depend on "
    "how fast the load is, so it is the one to compare. The others store, count and confirm nothing.",
    "latency": "Read it from the left: half of all deliveries were there within the first figure, and one in a thousand took longer than "
    "the mark 99.9 %. A line that stays low to the right end is a server that makes nobody wait.",
    "latency-workloads": "Both handshakes mean that every receiver counts the letters, and every count is checked. The whole room talks as fast as it "
    "can, so the server is always busy; a class that types is far to the left of all this.",
    "latency-rest": "The server has nothing else to do here, so this is the way itself: two turns with the sender, one commit with its sync to the "
    "disk, and the sends.",
    "throughput": "Larger rooms deliver more, since one commit and one look at a message serve more receivers.",
    "cost": "What a delivery costs falls while the cost of the message itself is shared by more receivers, and then stays.",
    "memory": "A straight line: a client costs the same, however many there are. Most of it is the thread's stack and the connection.",
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
    """The whole page."""
    about = report["machine"]
    made = plots.all_plots(report)
    where = f"{about['cores']} cores of {about['processor']}, {about['python']}, {about['system']}"
    where_and_when = (
        f"<p>Measured {escape(report['when'][:10])} on {escape(where)}. The server and the load that asks everything of it share "
        "these cores. Every message went through the whole handshake and was on the disk, synced, before anybody heard of it.</p>"
    )
    body = ["<h1>How fast the chat is</h1>", where_and_when, _tiles(report["results"])]
    for title, text, names in SECTIONS:
        if figures := [name for name in names if name in made]:
            cards = "".join(
                f'<figure class="card">{made[name]}<figcaption>{escape(CAPTIONS[name])}</figcaption></figure>'
                for name in figures
            )
            body.append(
                f'<h2>{escape(title)}</h2><p class="soft">{escape(text)}</p><div class="grid">{cards}</div>'
            )
    body += [_targets(report["results"], made.get("targets", "")), _details(report)]
    title = "How fast the chat is"
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/><meta name="viewport" content="width=device-width, initial-scale=1"/>'
        f"<title>{title}</title><style>{STYLE}</style></head><body><main>{''.join(body)}</main></body></html>\n"
    )


def _tiles(results: dict[str, Any]) -> str:
    """The few figures that say most."""
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
            f'<tr><td><code>{escape(row.workload)}</code></td><td>{escape(row.what)}</td><td class="n">{escape(value)}</td>'
            f'<td class="n">{escape(limit)}</td><td>{mark}</td></tr>'
        )
    return (
        '<h2>What was to be reached</h2><p class="soft">Ratios are of CPU time for each delivery, ours by the other\'s, from rounds that '
        "followed each other; × 0.2 means a fifth of the other's cost.</p>"
        + (f'<figure class="card">{plot}</figure><br/>' if plot else "")
        + '<div class="card scroll"><table><thead><tr><th>workload</th><th>figure</th><th class="n">measured</th><th class="n">target</th><th></th></tr></thead>'
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
        + f"<footer>{sizes['repeat']} round{'s' if sizes['repeat'] != 1 else ''} of {sizes['seconds']:g} s for each server, medians; the whole run took "
        f"{report['seconds']:.0f} s. The load and the server share the cores, and so does whatever else runs here: compare within one page, "
        "not across machines. <code>make bench</code> measures yours; docs/PERFORMANCE.md says how, and what limits each figure.</footer>"
    )


def _every_figure(head: str, lines: list[str]) -> str:
    return (
        '<h2>Every figure</h2><div class="card scroll"><table><thead><tr><th>workload</th><th>server</th>'
        f"{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )
