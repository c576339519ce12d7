"""The report as one HTML page: matrix, each rule, and transcripts as sequence diagrams.

The page needs nothing from outside and lets nothing out: its policy allows its own style and its
own script, known by its hash, and no address at all. Whatever the peer wrote goes through `_text`,
which escapes it.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections import Counter
from collections.abc import Iterable
from itertools import groupby
from textwrap import shorten
from typing import Final

from conformance.reports.page import SCRIPT, STYLE
from conformance.reports.words import (
    MENDED_FIRST,
    SIGNS,
    explained,
    harmless,
    in_short,
    number,
    others_wait,
    peer_of,
    points_of,
    to_mend_first,
    told_before,
    word_of,
)
from conformance.rules import RULES
from conformance.transcript import Line
from conformance.verdicts import Outcome, Report, RuleResult, Verdict, verdict_on

SHOWN_LINES: Final = 400
OPEN_LINES: Final = 40
"""A longer transcript is folded."""
SHOWN_WORDS: Final = 140
"""So many characters of each text fit the first screen."""
_KINDS: Final = {
    Verdict.PASS: "pass",
    Verdict.FAIL: "fail",
    Verdict.NOT_OFFERED: "unoffered",
    Verdict.NOT_REACHED: "unreached",
    Verdict.KIT_ERROR: "kit",
}
_LABELS: Final = {
    Verdict.PASS: "pass",
    Verdict.FAIL: "fail",
    Verdict.NOT_OFFERED: "not offered",
    Verdict.NOT_REACHED: "not reached",
    Verdict.KIT_ERROR: "kit error",
}


def render(report: Report) -> str:
    """Return the page."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    title = _text(f"Conformance of {report.target}")
    results = report.rule_results()
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{title}</title>",
            f"<style>{STYLE}</style>",
            "</head>",
            "<body>",
            *_head(report),
            *_mend_first(report),
            *_pairs(report),
            *_matrix(results, report),
            *_filters(results),
            "<main>",
            *_rules(results, report),
            *_homeless(report),
            *_without_case(report),
            "</main>",
            f"<script>{SCRIPT}</script>",
            "</body>",
            "</html>",
            "",
        ]
    )


def _text(text: str) -> str:
    return html.escape(harmless(text), quote=True)


def _lines(text: str) -> str:
    """Return a text of several lines; the style keeps them."""
    return "\n".join(_text(line) for line in text.split("\n"))


def _id(text: str) -> str:
    """Return a text as an id that needs no escaping, different for different texts."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "-", text)
    return (
        plain
        if plain == text
        else f"{plain}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
    )


def _badge(verdict: Verdict, more: str = "") -> str:
    return f'<span class="badge {_KINDS[verdict]}">{SIGNS[verdict]} {_LABELS[verdict]}{more}</span>'


# --- Head and matrix ------------------------------------------------------------------------------


def _head(report: Report) -> list[str]:
    percent = min(100.0, max(0.0, report.percent))
    holds = report.exit_status == 0
    facts = [
        ("graded", report.mode),
        ("level", report.level),
        ("seed", str(report.seed)),
        ("started", report.started),
        ("took", f"{report.seconds:.1f} s"),
    ]
    lines = [
        "<header>",
        f"<h1>Conformance of <code>{_text(report.target)}</code></h1>",
        f'<p class="sum">{_text(in_short(report))}</p>',
        (
            f'<div class="bar" role="img" aria-label="{percent:.0f} percent">'
            f'<i class="{"pass" if holds else "fail"}" '
            f'style="width:{percent:.1f}%"></i></div>'
        ),
        '<dl class="facts">'
        + "".join(
            f"<div><dt>{_text(key)}</dt><dd>{_text(value)}</dd></div>" for key, value in facts
        )
        + "</dl>",
    ]
    if report.notes:
        lines.append(
            '<ul class="notes">'
            + "".join(f"<li>{_lines(note)}</li>" for note in report.notes)
            + "</ul>"
        )
    return [*lines, "</header>"]


def _mend_first(report: Report) -> list[str]:
    """Return what the first screen says: which failures to mend, those that most cases wait for
    first, then in the order of docs/PROTOCOL.md."""
    failures = to_mend_first(report)
    if not failures:
        return []
    items = []
    for one, count in failures[:MENDED_FIRST]:
        cases = f" <em>{others_wait(count)}</em>" if count else ""
        told = "".join(
            f"<br><small>{word}</small> {_text(shorten(text, SHOWN_WORDS, placeholder=' …'))}"
            for word, text in (("expected", one.expected), ("came", one.came))
            if text
        )
        items.append(
            f'<li><a href="#case-{_id(one.case_id)}"><b>{_text(one.rule_id or one.case_id)}</b> '
            f"{_text(one.title)}</a>.{cases}{told}</li>"
        )
    left = len(failures) - MENDED_FIRST
    more = f"<p>Then {left} more rules that fail: below, open.</p>" if left > 0 else ""
    return [f'<section class="first"><h2>Mend first</h2><ol>{"".join(items)}</ol>{more}</section>']


def _pairs(report: Report) -> list[str]:
    """Return the table of a matrix run: each server with each client.

    Cases of such a run are called `SERVER-server+CLIENT-client/STEP`.
    """
    if report.mode != "matrix":
        return []
    cells: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in report.outcomes:
        match = re.match(r"(\w+)-server\+(\w+)-client/", outcome.case_id)
        if match is not None:
            cells.setdefault((match[1], match[2]), []).append(outcome)
    servers, clients = sorted({pair[0] for pair in cells}), sorted({pair[1] for pair in cells})
    lines = ['<section class="pairs"><h2>Who talks to whom</h2>', "<table><tr><th></th>"]
    lines += [f'<th scope="col">{_text(client)} client</th>' for client in clients] + ["</tr>"]
    for server in servers:
        lines.append(f'<tr><th scope="row">{_text(server)} server</th>')
        for client in clients:
            outcomes = cells.get((server, client), [])
            words = "".join(
                f'<li><a href="#case-{_id(outcome.case_id)}">{_badge(outcome.verdict)} '
                f"{_text(outcome.title)}</a></li>"
                for outcome in outcomes
            )
            lines.append(f"<td><ul>{words}</ul></td>")
        lines.append("</tr>")
    return [*lines, "</table></section>"]


def _matrix(results: list[RuleResult], report: Report) -> list[str]:
    groups: dict[str, list[RuleResult]] = {}
    for result in results:
        groups.setdefault(result.rule.group, []).append(result)
    lines = ['<section class="matrix"><h2>All rules</h2>', "<table>"]
    for group, members in groups.items():
        got, points = sum(result.got for result in members), _possible(members)
        cells = "".join(
            f'<a class="cell {_KINDS[result.verdict]}" href="#rule-{_id(result.rule.id)}" '
            f'title="{_text(_hint(result))}">{SIGNS[result.verdict]}'
            f"<small>{_text(result.rule.id.rpartition('-')[2])}</small></a>"
            for result in members
        )
        lines.append(
            f'<tr><th scope="row">{_text(group)}</th>'
            f'<td class="points">{number(got)}/{number(points)}</td>'
            f'<td class="cells">{cells}</td></tr>'
        )
    legend = " ".join(_badge(verdict) for verdict in Verdict)
    words = "<br>".join(map(_text, explained(report)))
    return [*lines, "</table>", f'<p class="legend">{legend}<br>{words}</p>', "</section>"]


def _hint(result: RuleResult) -> str:
    return f"{result.rule.id}: {word_of(result).lower()}. {result.rule.sentence}"


def _possible(results: Iterable[RuleResult]) -> float:
    return sum(result.points for result in results if result.is_asked)


def _filters(results: list[RuleResult]) -> list[str]:
    boxes = []
    for verdict in Verdict:
        count = sum(result.verdict is verdict for result in results)
        boxes.append(
            f'<label><input type="checkbox" data-kind="{_KINDS[verdict]}" checked> '
            f"{SIGNS[verdict]} {_LABELS[verdict]} ({count})</label>"
        )
    groups = "".join(
        f"<option>{_text(group)}</option>"
        for group in dict.fromkeys(result.rule.group for result in results)
    )
    return [
        '<nav class="filters" aria-label="Filters" hidden>',
        '<label>Find <input type="search" id="find" placeholder="rule, word, code …"></label>',
        f'<label>Chapter <select id="group"><option value="">all</option>{groups}</select></label>',
        *boxes,
        (
            '<button type="button" id="open">Open all</button> '
            '<button type="button" id="close">Close all</button>'
        ),
        '<output id="shown"></output>',
        "</nav>",
    ]


# --- Rules and cases ------------------------------------------------------------------------------


def _home(outcome: Outcome) -> str:
    """Return the rule under which a case is told: the one that it failed over, else its first."""
    return next((rule_id for rule_id in (outcome.rule_id, *outcome.rules) if rule_id in RULES), "")


def _rules(results: list[RuleResult], report: Report) -> list[str]:
    by_id = {outcome.case_id: outcome for outcome in report.outcomes}
    lines = []
    for group, members in groupby(results, lambda result: result.rule.group):
        lines.append(f'<h2 class="group" data-group="{_text(group)}">{_text(group)}</h2>')
        folded: list[str] = []
        counts: Counter[Verdict] = Counter()
        for result in members:
            told = _rule(result, [by_id[case_id] for case_id in result.cases], report)
            if result.verdict in (Verdict.FAIL, Verdict.KIT_ERROR):
                lines += told
            else:
                folded += told
                counts[result.verdict] += 1
        if folded:
            words = ", ".join(f"{count} {_LABELS[verdict]}" for verdict, count in counts.items())
            lines += [f'<details class="fold"><summary>{words}</summary>', *folded, "</details>"]
    return lines


def _rule(result: RuleResult, outcomes: list[Outcome], report: Report) -> list[str]:
    rule, bad = result.rule, result.verdict in (Verdict.FAIL, Verdict.KIT_ERROR)
    lines = [
        (
            f'<details class="rule" id="rule-{_id(rule.id)}" '
            f'data-kind="{_KINDS[result.verdict]}" data-group="{_text(rule.group)}"'
            f"{' open' if bad else ''}>"
        ),
        (
            f"<summary>{_badge(result.verdict, ' in part' if result.holds_in_part else '')} "
            f"<b>{_text(rule.id)}</b> "
            f'<span class="level">{_text(rule.level)}</span> '
            f'<span class="points">{points_of(result)}</span> '
            f'<span class="sentence">{_sentence(rule.sentence)}</span></summary>'
        ),
    ]
    for outcome in outcomes:
        if _home(outcome) == rule.id:
            lines += _case(outcome, report)
        else:
            verdict = verdict_on(rule.id, outcome)
            why = (
                f", it failed over {outcome.rule_id} before"
                if verdict is not outcome.verdict
                else ""
            )
            lines.append(
                f'<p class="elsewhere">{_badge(verdict)} '
                f'<a href="#case-{_id(outcome.case_id)}">{_text(outcome.title)}</a>'
                f"{_text(why)}</p>"
            )
    return [*lines, "</details>"]


def _sentence(sentence: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", _text(sentence))


def _homeless(report: Report) -> list[str]:
    outcomes = [outcome for outcome in report.outcomes if not _home(outcome)]
    if not outcomes:
        return []
    lines = ['<h2 class="group" data-group="Everything else">Everything else</h2>']
    for outcome in outcomes:
        lines += _case(outcome, report)
    return lines


def _without_case(report: Report) -> list[str]:
    if not report.rules_without_case:
        return []
    items = "".join(
        f"<li><b>{_text(rule_id)}</b> {_text(why)}</li>"
        for rule_id, why in report.rules_without_case.items()
    )
    return [
        (
            f'<details class="without"><summary>{len(report.rules_without_case)} rules that no '
            f"case looks at here</summary><ul>{items}</ul></details>"
        )
    ]


def _case(outcome: Outcome, report: Report) -> list[str]:
    lines = [
        f'<article class="case {_KINDS[outcome.verdict]}" id="case-{_id(outcome.case_id)}">',
        (
            f"<h3>{_badge(outcome.verdict)} {_text(outcome.title)} "
            f"<small>{_text(outcome.case_id)}, {outcome.level_set}, "
            f"{outcome.seconds:.2f} s</small></h3>"
        ),
    ]
    pairs = [("expected", outcome.expected), ("came", outcome.came)]
    told = "".join(f"<dt>{name}</dt><dd>{_lines(value)}</dd>" for name, value in pairs if value)
    if told:
        lines.append(f'<dl class="told">{told}</dl>')
    if outcome.verdict is not Verdict.PASS and outcome.again:
        lines.append(f'<p class="again">Run it again: <code>{_text(outcome.again)}</code></p>')
    before = told_before(outcome, report)
    if before:
        lines.append(
            f'<p>The same packets as in <a href="#case-{_id(before)}">{_text(before)}</a>.</p>'
        )
    elif outcome.transcript:
        count = len(outcome.transcript)
        is_open = " open" if count <= OPEN_LINES else ""
        lines.append(
            f'<details{is_open}><summary class="level">transcript, {count} lines</summary>'
        )
        lines += [*_diagram(outcome.transcript, report), "</details>"]
    return [*lines, "</article>"]


# --- Sequence diagrams ----------------------------------------------------------------------------


def _diagram(transcript: tuple[Line, ...], report: Report) -> list[str]:
    """Return a row for each line: time, who sends to whom as an arrow between lifelines, the length
    bytes, and the JSON."""
    names = list(dict.fromkeys(line.who for line in transcript if line.who)) or [
        "kit" if report.mode != "client" else "client"
    ]
    peer = "scripted server" if report.mode == "client" else peer_of(report)
    columns = [*names, peer]
    heads = "".join(
        f'<span style="left:{_place(at, len(columns)):.2f}%">{_text(name)}</span>'
        for at, name in enumerate(columns)
    )
    lines = [
        (
            '<div class="scroll"><table class="wire" '
            f'style="--columns:{len(columns)}"><thead><tr><th>s</th>'
            f'<th class="lane">{heads}</th><th>length</th><th>JSON</th></tr></thead><tbody>'
        )
    ]
    lines += [_row(line, columns, report) for line in transcript[:SHOWN_LINES]]
    left = len(transcript) - SHOWN_LINES
    if left > 0:
        lines.append(
            f"<tr><td></td><td></td><td></td><td>… {left} more lines are in the JSON "
            "report</td></tr>"
        )
    return [*lines, "</tbody></table></div>"]


def _place(at: int, count: int) -> float:
    return (at + 0.5) * 100 / count


def _row(line: Line, columns: list[str], report: Report) -> str:
    life = "".join(
        f'<i style="left:{_place(at, len(columns)):.2f}%"></i>' for at in range(len(columns))
    )
    at = columns.index(line.who) if line.who in columns[:-1] else 0
    ends = _place(at, len(columns)), _place(len(columns) - 1, len(columns))
    # In a client run the kit is the server, on the right; else the kit is the clients, on the left.
    to_right = line.direction == ("<" if report.mode == "client" else ">")
    whose = f"{line.who}: " if line.direction not in "<>" and line.who and len(columns) > 2 else ""
    note = f'<em class="note">{_text(whose + line.note)}</em>' if line.note else ""
    if line.direction in "<>":
        sign = "right" if to_right else "left"
        arrow = (
            f'<b class="{sign}" data-who="{_text(line.who)}" '
            f'style="left:{ends[0]:.2f}%;width:{ends[1] - ends[0]:.2f}%">'
            f"<span>{_text(_label(line))}</span></b>"
        )
        payload = f"<code>{_text(line.payload)}</code>{note}"
    else:
        arrow, payload = "", note or f"<code>{_text(line.payload)}</code>"
    return (
        f'<tr class="{"frame" if arrow else "remark"}"><td>{line.at:.3f}</td>'
        f'<td class="lane">{life}{arrow}</td>'
        f"<td><code>{_text(line.length_hex)}</code></td><td>{payload}</td></tr>"
    )


def _label(line: Line) -> str:
    """Return what stands on an arrow: the action, where it can be read."""
    match = re.search(r'"action"\s*:\s*("(?:[^"\\]|\\.)*")', line.payload)
    if match is None:
        return "bytes"
    try:
        return str(json.loads(match[1]))[:40]
    except ValueError:
        return "packet"
