"""What all reports share: words and signs for verdicts, transcripts as lines, and foreign text made
harmless.

Pure functions; any thread may use them. The peer wrote much of what a report shows, and may have
meant harm: nothing of it may drive a terminal, end an attribute or break a file's form.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from typing import Final

from conformance.rules import RULES
from conformance.transcript import NOTE, Line
from conformance.verdicts import Outcome, Report, RuleResult, Verdict

WORDS: Final = {
    Verdict.PASS: "PASS",
    Verdict.FAIL: "FAIL",
    Verdict.NOT_OFFERED: "not offered",
    Verdict.NOT_REACHED: "not reached",
    Verdict.KIT_ERROR: "KIT ERROR",
}
SIGNS: Final = {
    Verdict.PASS: "\u2713",
    Verdict.FAIL: "\u2717",
    Verdict.NOT_OFFERED: "\u2013",
    Verdict.NOT_REACHED: "?",
    Verdict.KIT_ERROR: "!",
}
_HIDDEN: Final = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp", "Co", "Cn"))
_ALLOWED: Final = frozenset("\u200d\ufe0f")
_KEYS: Final = {key: re.compile(rf'"{key}"\s*:\s*"([^"]*)"') for key in ("action", "code")}
MENDED_FIRST: Final = 4
"""So many rules stand at the beginning of a report."""
ENDS_LINES: Final = 15
"""So many lines of a transcript are shown of its beginning, and of its end."""
SHOWN_OF_NO_PACKET: Final = 40
"""So much of what is no packet tells one from another."""


def harmless(text: str) -> str:
    """Return `text` as one line in which everything that acts or is not seen is shown as an escape
    such as `\x1b`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(character) if _acts(character) else character for character in text)


def harmless_lines(text: str) -> list[str]:
    """Return the lines of `text`, each harmless."""
    return [harmless(line) for line in text.split("\n")]


def note_lines(report: Report) -> list[str]:
    """Return the lines of all remarks about the run."""
    return [line for note in report.notes for line in harmless_lines(note)]


def first_line(text: str) -> str:
    """Return the first line of `text`, harmless: of what a program printed, this says why."""
    return harmless(text.partition("\n")[0])


def _acts(character: str) -> bool:
    return character not in _ALLOWED and unicodedata.category(character) in _HIDDEN


def _escape(character: str) -> str:
    number = ord(character)
    if character in "\n\r\t":
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}[character]
    return (
        f"\\x{number:02x}"
        if number < 0x100
        else f"\\u{number:04x}"
        if number < 0x10000
        else f"\\U{number:08x}"
    )


def spreadsheet_cell(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def number(points: float) -> str:
    """Return points without needless zeros."""
    return f"{points:.2f}".rstrip("0").rstrip(".")


def points_of(result: RuleResult) -> str:
    """Return the points of a rule as `got/possible`, "-" where they are not counted."""
    return f"{number(result.got)}/{number(result.points)}" if result.is_asked else "-"


def word_of(result: RuleResult) -> str:
    """Return the verdict on a rule in a word."""
    return "part" if result.holds_in_part else WORDS[result.verdict]


def explained(report: Report) -> list[str]:
    """Return a line for each word of this report that does not say by itself what it means."""
    results, peer = report.rule_results(), peer_of(report)
    lines = []
    if any(result.holds_in_part for result in results):
        lines.append("part: no case fails over this rule, but some did not get as far as it.")
    if any(result.verdict is Verdict.NOT_OFFERED for result in results):
        lines.append(
            f"not offered: the {peer} does not know it (an extension), or this run can't look at "
            "it. Where the list shows 0/1 the points are lost; where it shows - they do not count."
        )
    uncounted = [result for result in results if not result.is_asked]
    if uncounted:
        points = number(sum(result.points for result in uncounted))
        lines.append(
            f"not counted: {', '.join(result.rule.id for result in uncounted)} ({points} "
            f"point{'' if points == '1' else 's'} of those that --list shows)."
        )
    return lines


def peer_of(report: Report) -> str:
    """Return what is graded, in a word."""
    return "client" if report.mode == "client" else "server"


def arrow(line: Line, report: Report) -> str:
    """Return who sent a line: `kit -> server`, `kit <- server`, or spaces for a note.

    Where the kit only listens, a client is on the left.
    """
    left, peer = "client" if report.mode == "matrix" else "kit", peer_of(report)
    return {">": f"{left} -> {peer}", "<": f"{left} <- {peer}"}.get(
        line.direction, " " * len(f"{left} -> {peer}")
    )


def transcript_lines(outcome: Outcome, report: Report) -> list[str]:
    """Return the transcript of a case, one harmless line of text each: time, connection, direction,
    length bytes, JSON, note."""
    width = max((len(line.who) for line in outcome.transcript), default=0)
    lines = []
    for line in outcome.transcript:
        parts = [
            f"{line.at:8.3f} s",
            f"{harmless(line.who):<{width}}" if width else "",
            arrow(line, report),
            harmless(line.length_hex),
        ]
        text = " ".join(
            part
            for part in (harmless(line.payload), f"[{harmless(line.note)}]" if line.note else "")
            if part
        )
        lines.append("  ".join([*(part for part in parts if part), text]).rstrip())
    return lines


def told_before(outcome: Outcome, report: Report) -> str:
    """Return the first case that failed over the same rule after the same packets, "" where this
    one is the first: one mistake is shown once."""
    if outcome.verdict is not Verdict.FAIL or not outcome.transcript:
        return ""
    shape = _shape(outcome)
    for other in report.outcomes:
        if other.case_id == outcome.case_id:
            return ""
        is_alike = other.verdict is Verdict.FAIL and other.rule_id == outcome.rule_id
        if is_alike and other.transcript and _shape(other) == shape:
            return other.case_id
    return ""


def _shape(outcome: Outcome) -> tuple[tuple[str, str, str], ...]:
    """Return which packets went, without what is in them; notes are left out."""
    return tuple(
        (line.direction, *_action_and_code(line.payload))
        for line in outcome.transcript
        if line.direction != NOTE
    )


def _action_and_code(payload: str) -> tuple[str, str]:
    found = [_KEYS[key].search(payload) for key in ("action", "code")]
    action, code = (match.group(1) if match else "" for match in found)
    return action or payload[:SHOWN_OF_NO_PACKET], code


def story(
    outcome: Outcome, report: Report, *, whole: str = " (--report html has them)"
) -> list[str]:
    """Return what a case that did not pass has to say: expected, came, transcript and the command
    that runs it again. `whole` says where all lines of a long transcript are."""
    lines = []
    for name, told in (("expected:", outcome.expected), ("came:", outcome.came)):
        if told:
            first, *more = harmless_lines(told)
            lines += [f"{name:<9} {first}", *(" " * 10 + line for line in more)]
    before = told_before(outcome, report)
    if before:
        lines.append(f"transcript: the same packets as in {before}")
    elif outcome.transcript:
        lines += [
            "transcript:",
            *("  " + line for line in _ends(transcript_lines(outcome, report), whole)),
        ]
    if outcome.again:
        lines.append(f"again:    {harmless(outcome.again)}")
    return lines


def _ends(lines: list[str], whole: str) -> list[str]:
    """Return the beginning and the end of a long transcript."""
    left = len(lines) - 2 * ENDS_LINES
    if left <= 1:
        return lines
    told = f"… {left} lines left out{whole} …"
    return [*lines[:ENDS_LINES], told, *lines[-ENDS_LINES:]]


def to_mend_first(report: Report) -> list[tuple[Outcome, int]]:
    """Return the first failure over each rule, and how many cases wait for that rule: those that
    most wait for first, then in the order of docs/PROTOCOL.md."""
    waiting = waiting_for(report)
    places = {rule_id: place for place, rule_id in enumerate(RULES)}
    failed = {one.rule_id: one for one in reversed(report.outcomes) if one.verdict is Verdict.FAIL}
    rules = sorted(failed, key=lambda each: (-waiting.get(each, 0), places.get(each, 0)))
    return [(failed[rule_id], waiting.get(rule_id, 0)) for rule_id in rules]


def others_wait(count: int) -> str:
    """Return how many cases wait for a rule, as a sentence."""
    return f"{count} other case{' waits' if count == 1 else 's wait'} for it."


def waiting_for(report: Report) -> dict[str, int]:
    """Return how many cases wait for each rule that does not hold, the most first."""
    failed = {each.rule_id for each in report.outcomes if each.verdict is Verdict.FAIL}
    waiting = Counter(
        each.waits_for
        for each in report.outcomes
        if each.verdict is Verdict.NOT_REACHED and each.waits_for in failed
    )
    return dict(waiting.most_common())


def in_short(report: Report) -> str:
    """Return the whole result in a sentence."""
    if report.no_server:
        return f"no {peer_of(report)} there: {number(report.points_got)} points"
    counts = ", ".join(
        f"{report.count(verdict)} {WORDS[verdict].lower()}"
        for verdict in Verdict
        if report.count(verdict)
    )
    return f"{points_in_short(report)}; cases: {counts or 'none'}"


def points_in_short(report: Report) -> str:
    """Return the points of a run, and how many are missing because the peer does not offer them."""
    missing = report.points_missing
    told = f", {number(missing)} of them not offered" if missing else ""
    return (
        f"{number(report.points_got)} of {number(report.points_possible)} points "
        f"({report.percent:.1f} %{told})"
    )
