"""The reports of the conformance kit: each is read back by what reads it, and nothing that a peer
sent can act in one."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html.parser
import io
import json
import os
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from conformance import reports
from conformance.reports import page, text, words
from conformance.rules import RULES
from conformance.transcript import Line
from conformance.verdicts import Outcome, Report, Verdict

HOSTILE = (
    "</script><script>alert(1)</script>\"'><img src=x "
    "onerror=alert(2)>]]>&lt;\x1b[31m\u202e\ud800\x00\r\n# SKIP ok 1"
)
VERDICTS = tuple(Verdict)
VOID = frozenset(["meta", "link", "br", "hr", "img", "input"])


def outcome(number: int, verdict: Verdict, rules: tuple[str, ...], words: str = "") -> Outcome:
    transcript = (
        Line("*", 0.0, "", "", "connected", "anna"),
        Line(">", 0.001, "00 00 00 11", '{"action":"ping"}', "", "anna"),
        Line("<", 0.002, "00 00 00 40", '{"action":"' + words + '"}', words, "ben" + words),
        Line("<", 0.003, "", words, "", "anna"),
    )
    bad = verdict is not Verdict.PASS
    return Outcome(
        f"part.case_{number}{words}",
        rules,
        ("seed", "full", "robust")[number % 3],
        verdict,
        f"a title {words}",
        rules[0] if bad else "",
        f"expected {words}" if bad else "",
        f"came {words}" if bad else "",
        transcript if bad else (),
        f"python -m conformance {words}",
        0.25,
    )


def make_report(words: str = "", mode: str = "server", **changes: Any) -> Report:
    ids = list(RULES)
    outcomes = [outcome(at, VERDICTS[at % len(VERDICTS)], (ids[at],), words) for at in range(30)]
    outcomes.append(outcome(30, Verdict.PASS, (ids[1], ids[0])))
    outcomes.append(outcome(31, Verdict.FAIL, (ids[1], ids[0])))
    values: dict[str, Any] = {
        "target": "127.0.0.1:9876" + words,
        "mode": mode,
        "level": "full",
        "seed": 7,
        "started": "2024-01-01T12:00:00Z",
        "seconds": 12.5,
        "outcomes": tuple(outcomes),
        "rules_without_case": {ids[-1]: "can't be seen" + words},
        "notes": ("a note" + words,),
    }
    return Report(**{**values, **changes})


EMPTY: dict[str, Any] = {"outcomes": (), "notes": (), "rules_without_case": {}}


@pytest.fixture(params=["plain", "hostile", "client", "matrix", "empty", "nobody"])
def any_report(request: pytest.FixtureRequest) -> Report:
    return {
        "plain": lambda: make_report(),
        "hostile": lambda: make_report(HOSTILE),
        "client": lambda: make_report(HOSTILE, mode="client"),
        "matrix": lambda: make_report(
            mode="matrix",
            outcomes=tuple(outcome(0, verdict, ("R-SESS-1",)) for verdict in VERDICTS[:1]),
        ),
        "empty": lambda: make_report(**EMPTY),
        "nobody": lambda: make_report(**EMPTY, no_server=True),
    }[request.param]()


# --- Writing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", reports.KINDS)
def test_a_report_of_every_kind_is_written_whole_to_a_file_in_a_new_folder(
    kind: str, any_report: Report, tmp_path: Path
) -> None:
    path = tmp_path / "new" / f"report.{kind}"
    reports.write(any_report, kind, path)
    assert path.read_text("utf-8") == reports.render(any_report, kind)
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", reports.KINDS)
def test_a_stream_that_knows_ascii_only_gets_escapes_and_no_exception(kind: str) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    reports.write(make_report("Zoë 👍"), kind, stream)
    stream.flush()
    assert raw.getvalue()


def test_the_text_says_above_the_sum_which_rules_to_mend_first() -> None:
    waiting = [
        Outcome(f"a.case{number}", ("R-MSG-7",), "seed", Verdict.NOT_REACHED, "t", waits_for=rule)
        for number, rule in enumerate(("R-MSG-1", "R-HIST-1", "R-HIST-1", "", "R-FILE-1"))
    ]
    broken = [
        Outcome(f"b.{rule}", (rule,), "seed", Verdict.FAIL, "t", rule)
        for rule in ("R-HIST-1", "R-MSG-1")
    ]
    told = reports.render(make_report(outcomes=(*broken, *waiting)), "text").splitlines()
    line = "3 cases wait for R-HIST-1 (2), R-MSG-1 (1): mend those first."
    assert line in told
    assert told.index(line) > max(at for at, each in enumerate(told) if "R-MSG-7" in each)
    assert "mend those first" not in reports.render(make_report(outcomes=tuple(waiting)), "text")
    alone = reports.render(make_report(outcomes=(*broken, waiting[0])), "text")
    assert "Not reached, 1 case: " in alone and "1 case waits for R-MSG-1 (1): " in alone


def test_the_text_begins_with_what_to_mend_first_and_cuts_long_transcripts() -> None:
    lines = tuple(Line(">", float(at), "", f"line {at}", "") for at in range(50))
    long = dataclasses.replace(failed_after(0, "R-HIST-1", "forbidden", "blue"), transcript=lines)
    waits = Outcome("a.b", ("R-MSG-7",), "seed", Verdict.NOT_REACHED, "t", waits_for="R-HIST-1")
    others = [failed_after(at, f"R-MSG-{at}", "forbidden", "blue") for at in range(1, 6)]
    told = reports.render(make_report(outcomes=(*others, long, waits)), "text").splitlines()
    at = told.index("Mend first")
    assert told[at + 1].endswith("; 1 other case waits for it.") and "R-HIST-1" in told[at + 1]
    assert "  then 2 more that fail: see below" in told
    assert at < min(index for index, line in enumerate(told) if line.startswith("  FAIL"))
    shown = [match[0] for line in told if (match := re.search(r"line \d+$", line))]
    assert shown == [f"line {at}" for at in (*range(15), *range(35, 50))]
    assert any("… 20 lines left out (--report html has them) …" in line for line in told)


def test_who_wrote_a_file_is_told_the_points_in_a_line() -> None:
    told = reports.where_they_are(make_report(), ["report.html"])
    assert re.fullmatch(
        r"[\d.]+ of [\d.]+ points \([\d.]+ %.*\)\. The report is in report.html\.", told
    )


def failed_after(number: int, rule: str, code: str, room: str) -> Outcome:
    packets = (
        Line(
            ">", 0.1, "00 00 00 11", f'{{"action":"get_messages","data":{{"room":"{room}"}}}}', ""
        ),
        Line("*", 0.2, "", "", f"a note about {room}"),
        Line("<", 0.3, "00 00 00 12", f'{{"action": "error", "code": "{code}"}}', ""),
    )
    return dataclasses.replace(
        outcome(number, Verdict.FAIL, (rule,)), transcript=packets, rule_id=rule
    )


def test_the_same_transcript_is_shown_once() -> None:
    outcomes = (
        failed_after(0, "R-HIST-1", "forbidden", "red"),
        failed_after(1, "R-HIST-1", "forbidden", "blue"),
        failed_after(2, "R-HIST-2", "forbidden", "green"),
        failed_after(3, "R-HIST-1", "bad_time", "black"),
    )
    for kind in ("text", "tap", "html"):
        text = reports.render(make_report(outcomes=outcomes), kind)
        assert text.lower().count("the same packets as in") == 1 and "blue" not in text, kind
        assert all(room in text for room in ("red", "green", "black")), kind


def test_dash_and_nothing_are_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    reports.write(make_report(), "tap", "-")
    reports.write(make_report(), "tap")
    assert capsys.readouterr().out == 2 * reports.render(make_report(), "tap")


# --- Text and JSON --------------------------------------------------------------------------------


def test_the_text_has_words_for_every_verdict_and_tells_failures_whole() -> None:
    lines = text.render(make_report()).splitlines()
    for word in ("PASS", "FAIL", "not offered", "not reached", "KIT ERROR"):
        assert any(line.startswith(f"  {word}") for line in lines), word
    whole = "\n".join(lines)
    assert (
        "expected: expected" in whole
        and "came:     came" in whole
        and "00 00 00 11" in whole
        and '{"action":"ping"}' in whole
    )
    assert "again:    python -m conformance" in whole
    assert "\x1b" not in whole
    assert re.search(r"of \d+ points \(\d+\.\d %\)", lines[-1])


def test_the_text_has_colours_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    terminal, pipe = Terminal(), io.StringIO()
    reports.write(make_report(), "text", terminal)
    reports.write(make_report(), "text", pipe)
    assert "\x1b[1;31mFAIL" in terminal.getvalue()
    assert re.sub(r"\x1b\[[\d;]*m", "", terminal.getvalue()) == pipe.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not text.wants_colour(Terminal())


def test_nothing_that_a_peer_sent_can_drive_a_terminal_or_begin_a_line() -> None:
    for kind in ("text", "tap"):
        whole = reports.render(make_report(HOSTILE), kind)
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800]", whole)
        assert not any(line.startswith("# SKIP ok") for line in whole.splitlines())


@pytest.mark.parametrize("kind", ["text", "tap", "junit", "html", "gradescope"])
def test_what_a_program_printed_keeps_its_lines(kind: str) -> None:
    printed = "the server did not start: exit status 1\n  File x.py\nSyntaxError: \x1b[31m"
    broken = dataclasses.replace(outcome(1, Verdict.KIT_ERROR, ("R-MSG-5",)), actual=printed)
    waits = dataclasses.replace(outcome(3, Verdict.NOT_REACHED, ("R-MSG-6",)), actual=printed)
    whole = reports.render(make_report(outcomes=(broken, waits), notes=(printed,)), kind)
    if kind == "gradescope":
        result = json.loads(whole)
        whole = "\n".join([result["output"], *(each["output"] for each in result["tests"])])
    lines = [line.strip(' #"') for line in whole.splitlines()]
    assert r"SyntaxError: \x1b[31m" in [re.sub("<.*", "", line) for line in lines]
    assert r"1\n  File" not in whole or kind == "tap"  # whose values are JSON


def test_json_can_be_read_back_as_the_same_report(any_report: Report) -> None:
    whole = json.loads(reports.render(any_report, "json"))
    assert Report.from_json(whole) == any_report
    assert whole["summary"]["points_got"] == any_report.points_got


# --- JUnit ----------------------------------------------------------------------------------------


def test_junit_has_the_structure_that_build_servers_read(any_report: Report) -> None:
    root = ElementTree.fromstring(reports.render(any_report, "junit").encode())
    assert root.tag == "testsuites"
    nobody = int(any_report.no_server)
    assert len(root.findall("testsuite/testcase")) == len(any_report.outcomes) + nobody
    for element in (root, *root.findall("testsuite")):
        cases = element.findall(".//testcase")
        assert int(element.get("tests", "-1")) == len(cases)
        for tag, name in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
            assert int(element.get(name, "-1")) == sum(case.find(tag) is not None for case in cases)
        assert float(element.get("time", "-1")) >= 0
    for case in root.findall("testsuite/testcase"):
        assert case.get("name") and case.get("classname") and float(case.get("time", "-1")) >= 0
        assert [child.tag for child in case] in ([], ["failure"], ["error"], ["skipped"])
    counted = {tag: len(root.findall(f".//{tag}")) for tag in ("failure", "error", "skipped")}
    skipped = any_report.count(Verdict.NOT_OFFERED) + any_report.count(Verdict.NOT_REACHED)
    assert counted == {
        "failure": any_report.count(Verdict.FAIL),
        "error": any_report.count(Verdict.KIT_ERROR) + nobody,
        "skipped": skipped,
    }


def test_a_junit_failure_names_its_rule_and_tells_the_transcript() -> None:
    root = ElementTree.fromstring(reports.render(make_report(HOSTILE), "junit").encode())
    failure = root.find(".//failure")
    assert failure is not None and failure.text is not None
    assert failure.get("type") in RULES
    assert RULES[failure.get("type", "")].sentence in failure.get("message", "")
    assert (
        "00 00 00 11" in failure.text and "alert(1)" in failure.text and "\\x1b[31m" in failure.text
    )


# --- TAP ------------------------------------------------------------------------------------------

POINT = re.compile(r"(not )?ok (\d+)(?: - (.*?))?(?: (?<!\\)# (?i:(SKIP|TODO))(?: (.*))?)?")


def read_tap(document: str) -> tuple[int, list[tuple[bool, str, str, dict[str, Any]]], str]:
    """Read TAP 14: the plan, the points (ok, description, directive, diagnostics), and why it was
    bailed out."""
    lines = iter(document.splitlines())
    assert next(lines) == "TAP version 14"
    plan, bailed = -1, ""
    points: list[tuple[bool, str, str, dict[str, Any]]] = []
    for line in lines:
        if match := re.fullmatch(r"1\.\.(\d+)(?: # .*)?", line):
            assert plan == -1, "two plans"
            plan = int(match[1])
        elif match := POINT.fullmatch(line):
            assert int(match[2]) == len(points) + 1
            points.append(
                (match[1] is None, re.sub(r"\\([#\\])", r"\1", match[3] or ""), match[4] or "", {})
            )
        elif line == "  ---":
            entries = points[-1][3]
            key = ""
            for inner in lines:
                if inner == "  ...":
                    break
                if entry := re.fullmatch(r"  (\w+): (.+)", inner):
                    entries[entry[1]] = json.loads(entry[2])
                elif entry := re.fullmatch(r"  (\w+):", inner):
                    key = entry[1]
                    entries[key] = []
                else:
                    item = re.fullmatch(r"    - (.+)", inner)
                    assert item is not None, inner
                    entries[key].append(json.loads(item[1]))
        elif line.startswith("Bail out!"):
            bailed = line
        else:
            assert line.startswith("#"), line
    return plan, points, bailed


def test_tap_can_be_parsed_and_says_the_same(any_report: Report) -> None:
    plan, points, bailed = read_tap(reports.render(any_report, "tap"))
    assert plan == len(points) == len(any_report.outcomes)
    assert bool(bailed) == any_report.no_server
    for (ok, description, directive, diagnostics), each in zip(
        points, any_report.outcomes, strict=True
    ):
        assert ok == (each.verdict not in (Verdict.FAIL, Verdict.KIT_ERROR))
        assert (directive == "SKIP") == (each.verdict in (Verdict.NOT_OFFERED, Verdict.NOT_REACHED))
        assert description.startswith("part.case_")
        if not ok:
            told = diagnostics["transcript"]
            assert diagnostics["rule"] in RULES
            assert len(told) == 4 or told.startswith("the same packets as in part.case_")


# --- Gradescope -----------------------------------------------------------------------------------

FORMATS = {"text", "html", "simple_format", "md", "ansi"}
VISIBILITIES = {"hidden", "after_due_date", "after_published", "visible"}
TOP: dict[str, Any] = {
    "score": (int, float),
    "execution_time": (int, float),
    "output": str,
    "output_format": FORMATS,
    "test_output_format": FORMATS,
    "test_name_format": FORMATS,
    "visibility": VISIBILITIES,
    "stdout_visibility": VISIBILITIES,
    "extra_data": dict,
    "tests": list,
}
TEST: dict[str, Any] = {
    "score": (int, float),
    "max_score": (int, float),
    "status": {"passed", "failed"},
    "name": str,
    "name_format": FORMATS,
    "number": str,
    "output": str,
    "output_format": FORMATS,
    "tags": list,
    "visibility": VISIBILITIES,
    "extra_data": dict,
}


def check_keys(given: dict[str, Any], known: dict[str, Any]) -> None:
    """Every key is one that "Autograder Specifications" names, with a value of its kind."""
    for key, value in given.items():
        assert key in known, key
        allowed = known[key]
        assert value in allowed if isinstance(allowed, set) else isinstance(value, allowed), (
            key,
            value,
        )
        assert not isinstance(value, bool)


def test_results_json_has_the_documented_form(any_report: Report) -> None:
    whole = json.loads(reports.render(any_report, "gradescope"))
    check_keys(whole, TOP)
    assert {"score", "tests"} <= whole.keys()
    for test in whole["tests"]:
        check_keys(test, TEST)
        assert 0 <= test["score"] <= test["max_score"]
        assert all(isinstance(tag, str) for tag in test["tags"])
    assert whole["score"] == pytest.approx(sum(test["score"] for test in whole["tests"]))
    assert whole["score"] == pytest.approx(any_report.points_got)
    assert whole["extra_data"]["points_possible"] == pytest.approx(
        sum(test["max_score"] for test in whole["tests"])
    )


def test_a_rule_that_holds_in_part_gives_its_share_and_one_not_offered_costs_nothing() -> None:
    ids = list(RULES)
    outcomes = (
        outcome(0, Verdict.PASS, (ids[0],)),
        outcome(1, Verdict.FAIL, (ids[0],)),
        outcome(2, Verdict.NOT_OFFERED, (ids[1],)),
        outcome(3, Verdict.KIT_ERROR, (ids[2],)),
    )
    report = make_report(outcomes=outcomes, points={ids[0]: 5.0})
    half, absent, ours = json.loads(reports.render(report, "gradescope"))["tests"]
    assert (half["score"], half["max_score"], half["status"]) == (2.5, 5.0, "failed")
    assert (absent["score"], absent["max_score"]) == (0.0, 0.0) and "status" not in absent
    assert (half["visibility"], ours["visibility"]) == ("visible", "hidden")
    assert "came" in half["output"] and ids[0] in half["name"]


# --- HTML -----------------------------------------------------------------------------------------


def test_words_that_do_not_say_what_they_mean_are_explained() -> None:
    part = outcome(1, Verdict.PASS, ("R-MSG-5",)), outcome(2, Verdict.FAIL, ("R-MSG-6", "R-MSG-5"))
    report = make_report(outcomes=(*part, outcome(3, Verdict.NOT_OFFERED, ("R-ACC-3",))))
    told = reports.render(report, "text").splitlines()
    assert any(re.match(r"  part +R-MSG-5 +1\.5/3 ", line) for line in told)
    assert any(re.match(r"  not offered +R-ACC-3 +- ", line) for line in told)
    for start in (
        "part: no case fails",
        "not offered: the server does",
        "not counted: R-ACC-3 (1 ",
    ):
        assert sum(line.startswith(start) for line in told) == 1
        assert start in reports.render(report, "html")
    assert "pass in part" in reports.render(report, "html")
    whole = make_report(outcomes=(part[0],))
    assert not words.explained(whole)


class Page(html.parser.HTMLParser):
    """Reads a page, and fails where it is not well formed."""

    def __init__(self, document: str) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self.words: list[str] = []
        self.feed(document)
        self.close()
        assert not self.stack, self.stack

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), (tag, attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack and self.stack.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if self.stack and self.stack[-1] in self.raw:
            self.raw[self.stack[-1]].append(data)
        else:
            self.words.append(data)

    def values(self, name: str) -> list[str]:
        return [
            value
            for _, attributes in self.tags
            for key, value in attributes.items()
            if key == name and value is not None
        ]


def test_the_page_is_well_formed_and_every_link_in_it_leads_somewhere(any_report: Report) -> None:
    document = Page(reports.render(any_report, "html"))
    ids = document.values("id")
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", each) for each in ids)
    links = document.values("href")
    assert all(link.startswith("#") and link[1:] in ids for link in links), links
    assert {f"rule-{result.rule.id}" for result in any_report.rule_results()} <= set(ids)
    assert sum(each.startswith("case-") for each in ids) == len(any_report.outcomes)


def test_the_page_needs_nothing_from_outside_and_lets_only_its_own_script_run(
    any_report: Report,
) -> None:
    whole = reports.render(any_report, "html")
    document = Page(whole)
    assert {tag for tag, _ in document.tags}.isdisjoint(
        {"link", "img", "iframe", "object", "embed", "base", "form", "svg"}
    )
    assert not [
        name
        for _, attributes in document.tags
        for name in attributes
        if name.startswith("on") or name in ("src", "action")
    ]
    assert document.raw["script"] == [page.SCRIPT] and document.raw["style"] == [page.STYLE]
    assert not re.search(r"url\(|@import|https?:", page.STYLE + page.SCRIPT)
    policy = next(
        attributes["content"]
        for tag, attributes in document.tags
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    digest = base64.b64encode(hashlib.sha256(page.SCRIPT.encode()).digest()).decode()
    assert (
        policy is not None
        and "default-src 'none'" in policy
        and f"script-src 'sha256-{digest}'" in policy
    )


def test_what_a_peer_sent_is_shown_and_never_acts() -> None:
    whole = reports.render(make_report(HOSTILE), "html")
    document = Page(whole)
    assert [tag for tag, _ in document.tags].count("script") == 1
    assert "<script>alert(1)</script>" in "".join(document.words)
    assert "alert(1)</script>" not in whole.replace(page.SCRIPT, "")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800]", whole)


def test_every_failure_is_drawn_with_an_arrow_for_each_frame() -> None:
    document = Page(reports.render(make_report(), "html"))
    arrows = [
        attributes["class"]
        for tag, attributes in document.tags
        if tag == "b" and attributes.get("class")
    ]
    report = make_report()
    told = [
        each for each in report.outcomes if each.transcript and not words.told_before(each, report)
    ]
    assert arrows.count("right") == len(told) and arrows.count("left") == 2 * len(told)


def test_the_first_screen_says_what_to_mend_first_and_passes_are_folded() -> None:
    outcomes = (
        failed_after(0, "R-FRAME-2", "bad_frame", "red"),
        failed_after(1, "R-HIST-1", "forbidden", "blue"),
        Outcome("a.b", ("R-HIST-7",), "seed", Verdict.NOT_REACHED, "t", waits_for="R-HIST-1"),
        Outcome("a.c", ("R-HIST-2",), "seed", Verdict.PASS, "holds"),
    )
    whole = reports.render(make_report(outcomes=outcomes), "html")
    first = whole[whole.index("Mend first") : whole.index("All rules")]
    assert first.index("R-HIST-1") < first.index("R-FRAME-2"), "a case waits for it"
    assert "1 other case waits for it" in first
    folds = re.findall(r'class="fold"><summary>([^<]*)', whole)
    assert folds == ["1 pass, 1 not reached"]
    assert "Mend first" not in reports.render(make_report(outcomes=outcomes[3:]), "html")


def test_the_arrows_of_a_client_run_come_from_the_kit_on_the_right() -> None:
    document = Page(reports.render(make_report(mode="client"), "html"))
    arrows = [
        attributes["class"]
        for tag, attributes in document.tags
        if tag == "b" and attributes.get("class")
    ]
    assert arrows.count("right") == 2 * arrows.count("left")


def test_the_matrix_has_a_cell_for_each_server_with_each_client() -> None:
    pairs = [
        f"{server}-server+{client}-client/login"
        for server in ("their", "our")
        for client in ("their", "our")
    ]
    outcomes = tuple(
        Outcome(pair, ("R-SESS-1",), "full", Verdict.PASS, "both log in") for pair in pairs
    )
    document = Page(reports.render(make_report(mode="matrix", outcomes=outcomes), "html"))
    links = [link for link in document.values("href") if link.startswith("#case-")]
    assert len(set(links)) == 4
    assert {"their client", "our client", "their server", "our server"} <= set(document.words)


@pytest.mark.parametrize("kind", ["text", "html", "tap"])
def test_what_came_does_not_say_again_that_it_came(kind: str) -> None:
    made = make_report()
    outcomes = tuple(dataclasses.replace(one, actual="this came: {}") for one in made.outcomes)
    whole = reports.render(dataclasses.replace(made, outcomes=outcomes), kind)
    assert re.search(r"\bcame\W+((small|dt|dd)\W+)*\{\}", whole)
    assert not re.search(r"\bcame\W+((small|dt|dd)\W+)*this came", whole)


def test_a_report_that_a_scanner_of_windows_holds_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, calls = os.replace, list[Path]()

    def held_twice(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) < 3:
            raise PermissionError(13, "The process cannot access the file")
        replace(source, target)

    monkeypatch.setattr(os, "replace", held_twice)
    monkeypatch.setattr(reports, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(reports, "_is_windows", True)
    reports.write(make_report(), "json", tmp_path / "report.json")
    assert len(calls) == 3 and json.loads((tmp_path / "report.json").read_text("utf-8"))
    monkeypatch.setattr(reports, "_is_windows", False)
    calls.clear()
    with pytest.raises(PermissionError):
        reports.write(make_report(), "json", tmp_path / "report.json")
    assert len(calls) == 1, "elsewhere a refusal is final"
