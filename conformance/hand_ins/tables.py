"""The teacher's pages of a class: `grades.csv`, and `index.html` with the table of rules, what
fails alike, and what looks alike. The page of a student is the kit's own report.

Pure but for writing the files. Whatever a hand-in chose goes through `_text` or `spreadsheet_cell`.
"""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

from conformance import reports
from conformance.hand_ins.grading import Result
from conformance.hand_ins.likeness import Alike
from conformance.reports.words import spreadsheet_cell
from conformance.rules import RULES

COLUMNS: Final = (
    "name",
    "percent",
    "points",
    "possible",
    "seed",
    "failed",
    "not reached",
    "first failure",
    "seconds",
    "remarks",
)
_SIGNS: Final = {
    "pass": ("✓", "pass"),
    "fail": ("✗", "fail"),
    "not reached": ("·", "unreached"),
    "not offered": ("○", "unoffered"),
    "kit error": ("!", "kit"),
}
_STYLE: Final = """
:root { color-scheme: light dark; font: 16px/1.45 system-ui, sans-serif; }
body { margin: 1.5rem; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .15rem .45rem; text-align: left; border-bottom: 1px solid #8886; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; }
.rules td { padding: .1rem .25rem; text-align: center; }
.rules thead th { font-weight: normal; font-size: .75rem; writing-mode: vertical-rl; }
.rules tbody th { position: sticky; left: 0; background: Canvas; }
.pass { color: #1a7f37; } .fail { color: #cf222e; font-weight: bold; }
.unreached, .unoffered { color: #777; } .kit { color: #9a6700; }
@media (prefers-color-scheme: dark) { .pass { color: #4ac26b; } .fail { color: #ff7b72; }
  .unreached, .unoffered { color: #999; } .kit { color: #d4a72c; } }
pre { white-space: pre-wrap; margin: 0; }
"""


def alike_failures(results: Sequence[Result]) -> list[tuple[tuple[str, ...], list[str]]]:
    """Return groups of two and more hand-ins that fail in the very same cases: the rules, and the
    names, largest group first."""
    groups: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for result in results:
        if result.taken is not None and result.taken.fails:
            groups.setdefault(tuple(sorted(result.taken.fails)), []).append(result.name)
    return [
        (tuple(dict.fromkeys(rule or case for rule, case in fails)), names)
        for fails, names in sorted(groups.items(), key=lambda group: (-len(group[1]), group[1]))
        if len(names) > 1
    ]


def csv_text(results: Sequence[Result]) -> str:
    """Return the table of grades for a spreadsheet, one row for each hand-in."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for result in results:
        run = result.taken
        remarks = "; ".join(filter(None, (result.why, *result.notes)))
        writer.writerow(
            [
                spreadsheet_cell(result.name),
                f"{result.percent:.1f}",
                *(
                    ["0", "0", "", "", "", "", ""]
                    if run is None
                    else [
                        f"{run.got:g}",
                        f"{run.possible:g}",
                        str(run.seed),
                        str(len(run.fails)),
                        str(run.not_reached),
                        _first(result),
                        f"{run.seconds:.0f}",
                    ]
                ),
                spreadsheet_cell(" ".join(remarks.split())[:500]),
            ]
        )
    return text.getvalue()


def write(
    out: Path, results: Sequence[Result], alike: Sequence[Alike], not_here: Sequence[str] = ()
) -> None:
    """Write grades.csv and index.html into the folder. `not_here` names what the hand-ins could not
    be compared with."""
    # the mark at the front tells Excel that this is UTF-8
    _replace(out / "grades.csv", "\ufeff" + csv_text(results))
    _replace(out / "index.html", page(results, alike, not_here))


def page(results: Sequence[Result], alike: Sequence[Alike], not_here: Sequence[str] = ()) -> str:
    """Return the teacher's page; for `not_here` see `write`."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    body = [
        *_grades(results),
        *_groups(results),
        *_likeness(alike, not_here),
        *_rules(results),
    ]
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{len(results)} hand-ins</title><style>{_STYLE}</style></head><body>",
            f"<h1>{_count(len(results), 'hand-in')}</h1>",
            "<p>For the teacher: not to be handed on.</p>",
            *body,
            "</body></html>",
            "",
        ]
    )


def _grades(results: Sequence[Result]) -> list[str]:
    lines = [
        "<h2>Grades</h2>",
        '<div class="scroll"><table><thead><tr><th>name</th><th>percent</th><th>failed</th>'
        "<th>first failure</th><th>remarks</th></tr></thead><tbody>",
    ]
    for result in results:
        name = _text(result.name)
        if result.taken is not None:
            link = f"{quote(result.name)}/report-{result.taken.seed}.html"
            name = f'<a href="{link}">{name}</a>'
        remarks = "\n".join(filter(None, (result.why, *result.notes)))
        fails = "" if result.taken is None else str(len(result.taken.fails))
        lines.append(
            f'<tr><th scope="row">{name}</th><td class="number">{result.percent:.1f}</td>'
            f'<td class="number">{fails}</td><td>{_text(_first(result))}</td>'
            f"<td><pre>{_text(remarks)}</pre></td></tr>"
        )
    return [*lines, "</tbody></table></div>"]


def _groups(results: Sequence[Result]) -> list[str]:
    lines = [
        f"<li>{_text(', '.join(names))}: <span>{_text(', '.join(rules))}</span></li>"
        for rules, names in alike_failures(results)
    ]
    return ["<h2>Fail alike</h2>", "<ul>", *lines, "</ul>"] if lines else []


def _likeness(alike: Sequence[Alike], not_here: Sequence[str]) -> list[str]:
    missing = [
        f"<p>Nobody's source was compared with {_text(name)}: it does not lie beside the kit. "
        "Start the kit in the project's folder for that.</p>"
        for name in not_here
    ]
    if not alike:
        return ["<h2>Look alike</h2>", *missing] if missing else []
    lines = [
        f'<tr><th scope="row">{_text(pair.one)}</th><td>{_text(pair.other)}</td>'
        f'<td class="number">{100 * pair.share:.0f} %</td></tr>'
        for pair in alike
    ]
    return [
        "<h2>Look alike</h2>",
        "<p>How much of the source of one stands in the other. A hint for your eyes, no proof.</p>",
        "<table><tbody>",
        *lines,
        "</tbody></table>",
        *missing,
    ]


def _rules(results: Sequence[Result]) -> list[str]:
    seen = {rule for result in results if result.taken for rule in result.taken.verdicts}
    rules = [rule for rule in RULES if rule in seen]
    heads = "".join(
        f'<th scope="col" title="{_text(RULES[rule].sentence)}">{_text(rule)}</th>'
        for rule in rules
    )
    lines = [
        "<h2>Rules</h2>",
        f'<div class="scroll"><table class="rules"><thead><tr><th></th>{heads}</tr></thead><tbody>',
    ]
    for result in results:
        verdicts: Mapping[str, str] = result.taken.verdicts if result.taken else {}
        cells = "".join(_verdict(verdicts.get(rule, "not reached"), rule) for rule in rules)
        lines.append(f'<tr><th scope="row">{_text(result.name)}</th>{cells}</tr>')
    holding = "".join(
        f"<td>{sum(1 for result in results if _holds(result, rule))}</td>" for rule in rules
    )
    return [
        *lines,
        f'<tr><th scope="row">how many hold it</th>{holding}</tr>',
        "</tbody></table></div>",
    ]


def _holds(result: Result, rule: str) -> bool:
    return result.taken is not None and result.taken.verdicts.get(rule) == "pass"


def _verdict(verdict: str, rule: str) -> str:
    sign, kind = _SIGNS.get(verdict, ("?", "kit"))
    return f'<td class="{kind}" title="{_text(rule)}: {verdict}">{sign}</td>'


def _first(result: Result) -> str:
    """Return the first rule that fails, in the order of docs/PROTOCOL.md."""
    if result.taken is None or not result.taken.fails:
        return ""
    order = {rule: place for place, rule in enumerate(RULES)}
    rule, case = min(result.taken.fails, key=lambda fail: order.get(fail[0], -1))
    return rule or case


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)


def _text(text: str) -> str:
    return html.escape(text.encode("utf-8", "backslashreplace").decode("utf-8"), quote=True)


def _replace(path: Path, text: str) -> None:
    beside = path.with_name(path.name + ".part")
    beside.write_text(text, "utf-8", errors="backslashreplace", newline="")
    reports.replace(beside, path)
