"""The kit finds every planted fault, blames exactly the rules that are broken, and has nothing to
say against the references.

The quick run looks at the rules that each fault breaks, and at a few of those around them, drawn by
the seed; `-m long` looks at all around it, `-m hours` at every case and at every pair. The runs
wait most of their time (a server that forgets the ack is waited for), so a few of them go on side
by side.
"""

from __future__ import annotations

import argparse
import dataclasses
import fnmatch
import functools
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from support.patience import patience
from support.planted_faults import FAULTS, Fault
from support.reference_client import PlainClient
from support.reference_server import ReferenceServer
from support.seed import drawn

from conformance import rule_dependencies
from conformance.__main__ import make_parser
from conformance.client import cases as client_cases
from conformance.client import runner as client_runner
from conformance.registry import chosen
from conformance.rules import RULES
from conformance.server import cases, runner
from conformance.server.registry import Case
from conformance.verdicts import Outcome, Report, Verdict

AT_ONCE = 6
QUICK_SECONDS = 1.5
"""How long the quick runs wait for what does not come. On a busy machine that is too short at
times: then it is tried again, patiently."""
PATIENT_SECONDS = 15.0
LONG_SECONDS = 4.0
"""How long the runs of the whole kit wait: a fault may silence a hundred cases."""
SLOW_RULES = {"R-FRAME-7", "R-FRAME-8", "R-MSG-7", "R-LIM-9", "R-LIM-11", "R-LIM-12"}
"""What takes long by its nature; the long run has it too."""
SLOW_CASES = {
    "client.comes_back",
    "client.understands_pieces",
    "files.waiting_downloads",
    "files.cancel_a_download",
    "files.over_the_quota",
    "files.chat_beside_a_download",
    "peers.many_requests_in_one_send",
    "history.page_by_page_by_time",
    "limits.burst",
    "clock.one_timestamp",
    "privacy.no_download_after_logout",
    "files.running_download_of_a_lost_room",
    "resources.announced_bytes",
}
SEED = 20240101
SLOW_FAULTS = {
    "keeps_all_for_a_slow_reader",
    "outbox_of_a_thousand",
    "channel_of256",
    "one_chunk_more_of_ten_thousand",
    "writes_to_whole_paths",
    "hundred_bytes",
    "rooms_are_file_names",
    "one_chunk_too_many_of_thousands",
}
"""Variants of others that the quick run has; those of a slow reader move 30 MB."""
COMBINED = {
    name
    for name, fault in FAULTS.items()
    if fault.kind.__module__.startswith("support.planted_faults.combined")
}
"""So many that the quick run has some of them only."""
SLOW_FAULTS |= COMBINED - {
    "acked_once",
    "added_at_the_end",
    "cancel_stops_the_first",
    "copies_for_all_together",
    "features_stay",
    "leavers_get_files",
    "request_ids_in_utf16",
    "type_of_the_first",
}
SOME_AROUND = 3
"""So many cases that should pass are tried against each fault in the quick run."""
SOME_PAIRS = 6
"""So many pairs of faults are tried together in the quick run; all of them in the long one."""
SERVER_FAULTS = [fault for fault in FAULTS.values() if not fault.is_client]
CLIENT_FAULTS = [fault for fault in FAULTS.values() if fault.is_client]


def grade_server(
    kind: type[ReferenceServer], ids: Iterable[str] = (), wait: float = PATIENT_SECONDS
) -> Report:
    server = kind().start()
    options = runner.Options(
        "127.0.0.1", server.port, "robust", SEED, cases=tuple(ids), timeout=wait, run_seconds=400
    )
    try:
        return runner.run(options, cases.load())
    finally:
        server.stop()


def grade_client(
    module: str, words: Iterable[str] = (), ids: Iterable[str] = (), wait: float = PATIENT_SECONDS
) -> Report:
    command = [
        sys.executable,
        "-m",
        module,
        *words,
        "{host}",
        "{port}",
        "{user}",
        "{password}",
        "{folder}",
    ]
    line = ["client", "--level", "robust", "--seed", str(SEED), "--timeout", f"{wait:g}"]
    for name in ids:
        line += ["--case", name]
    args = make_parser().parse_args(line, argparse.Namespace(commands=[command]))
    args.points = {}
    return client_runner.run(args)


def cases_around(fault: Fault) -> list[str]:
    """The ids of the cases about the rules around the fault, but for what takes long."""
    wanted = fault.breaks | fault.may_break
    if fault.is_client:
        of_clients = chosen(client_cases.load(), "robust", fault.around)
        return [one.id for one in of_clients if one.id not in SLOW_CASES or wanted & set(one.rules)]
    about = chosen(cases.load(), "robust", fault.around)
    return [
        each.id
        for each in about
        if each.early is None and (wanted & set(each.rules[:1]) or not is_slow(each))
    ]


def cases_close_to(fault: Fault) -> list[str]:
    """The ids of the cases that the quick run takes: of those around the fault all that look at
    what it breaks, and a few of the others."""
    around = cases_around(fault)
    if fault.is_client:
        return around
    wanted = fault.breaks | fault.may_break
    close = {each.id for each in cases.load() if wanted & set(each.rules)}
    others = [name for name in around if name not in close]
    close.update(drawn("cases", fault.name).sample(others, min(SOME_AROUND, len(others))))
    return [name for name in around if name in close]


def is_slow(each: Case) -> bool:
    return each.early is not None or each.id in SLOW_CASES or bool(SLOW_RULES & set(each.rules))


def quick_cases() -> list[str]:
    return [each.id for each in cases.load() if not is_slow(each)]


def quick_client_cases() -> list[str]:
    return [each.id for each in chosen(client_cases.load(), "robust") if each.id not in SLOW_CASES]


def grade(fault: Fault, ids: Iterable[str] = (), wait: float = PATIENT_SECONDS) -> Report:
    """The report on one fault: on these cases, or on all."""
    if fault.is_client:
        return grade_client("support.planted_faults", [fault.name], ids, wait)
    return grade_server(fault.kind, ids, wait)


def grade_quickly(fault: Fault) -> Report:
    return grade(fault, cases_close_to(fault), QUICK_SECONDS)


def failed_rules(report: Report) -> set[str]:
    return {outcome.rule_id for outcome in report.outcomes if outcome.verdict is Verdict.FAIL}


def told(report: Report) -> str:
    """What a failing test shows: what the kit said."""
    bad = [
        outcome
        for outcome in report.outcomes
        if outcome.verdict not in (Verdict.PASS, Verdict.NOT_OFFERED)
    ]
    lines = [
        (
            f"{one.verdict.value} {one.case_id} {one.rule_id}: expected {one.expected[:200]}; "
            f"{one.actual[-300:]}"
        )
        for one in bad
    ]
    return "\n".join([*report.notes, *lines])


def complaint(fault: Fault, report: Report) -> str:
    """What is wrong with a report on a fault; "" where it is right."""
    broken = failed_rules(report)
    missing, surplus = (
        sorted(fault.breaks - broken),
        sorted(broken - fault.breaks - fault.may_break),
    )
    if not missing and not surplus and not report.count(Verdict.KIT_ERROR):
        return ""
    return (
        f"{fault.mistake}\nnot found: {missing}, blamed without reason: {surplus}\n{told(report)}"
    )


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="grading") as threads:
        yield threads
        threads.shutdown(cancel_futures=True)


class Quick(dict[str, Future[Report]]):
    """The quick runs by name; one that nobody has begun begins when it is asked for."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        super().__init__()
        self._pool = pool

    def __missing__(self, name: str) -> Future[Report]:
        if name == "the reference server":
            begun = self._pool.submit(grade_server, ReferenceServer, quick_cases())
        elif name == "the reference client":
            words = "support.reference_client", (), quick_client_cases()
            begun = self._pool.submit(grade_client, *words)
        else:
            begun = self._pool.submit(grade_quickly, FAULTS[name])
        return self.setdefault(name, begun)


@pytest.fixture(scope="module")
def quick(pool: ThreadPoolExecutor, request: pytest.FixtureRequest) -> Quick:
    """The quick runs of all tests of this process, begun at once; the longest first, so that none
    of them is waited for alone."""
    runs = Quick(pool)
    params = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    asked = {each["fault"].name for each in params if isinstance(each.get("fault"), Fault)}
    for fault in sorted(FAULTS.values(), key=lambda one: (not one.waits, not one.is_client)):
        if fault.name in asked:
            runs.__missing__(fault.name)
    return runs


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(each, marks=pytest.mark.long if name in SLOW_FAULTS else (), id=name)
        for name, each in FAULTS.items()
    ],
)
def test_planted_fault_is_found_and_nothing_else(fault: Fault, quick: Quick) -> None:
    if complaint(fault, quick[fault.name].result(timeout=patience(300))):
        assert complaint(fault, grade(fault, cases_around(fault))) == ""


@pytest.mark.parametrize(("fault", "case_id"), [("no_second_copy", "messages.at_most_three_times")])
def test_a_case_that_proves_nothing_without_another_does_not_pass_alone(
    fault: str, case_id: str
) -> None:
    (one,) = grade(FAULTS[fault], [case_id], QUICK_SECONDS).outcomes
    assert one.verdict is Verdict.NOT_REACHED, one.actual


def test_there_are_enough_faults_on_both_sides() -> None:
    assert len(SERVER_FAULTS) >= 40
    assert len(CLIENT_FAULTS) >= 10
    assert {rule for fault in FAULTS.values() for rule in fault.breaks | fault.may_break} <= set(
        RULES
    )
    assert all(fault.mistake for fault in FAULTS.values())


def test_reference_server_passes_all_that_it_offers(quick: Quick) -> None:
    report = quick["the reference server"].result(timeout=patience(300))
    assert report.count(Verdict.PASS) + report.count(Verdict.NOT_OFFERED) == len(report.outcomes), (
        told(report)
    )
    assert report.count(Verdict.PASS) > report.count(Verdict.NOT_OFFERED) * 5, told(report)


def test_reference_client_passes_all_that_it_offers(quick: Quick) -> None:
    report = quick["the reference client"].result(timeout=patience(300))
    assert report.count(Verdict.PASS) + report.count(Verdict.NOT_OFFERED) == len(report.outcomes), (
        told(report)
    )


def failure(rule: str) -> Outcome:
    return Outcome(
        f"some.case_about_{rule}",
        (rule,),
        "seed",
        Verdict.FAIL,
        "a title",
        rule,
        "this",
        "that",
        (),
    )


def verdicts(*rules: str) -> dict[str, Verdict]:
    """The verdicts on failures over these rules, in this order, once it is known what stands on
    what."""
    return {
        outcome.rule_id: outcome.verdict
        for outcome in rule_dependencies.judged([failure(rule) for rule in rules])
    }


def test_what_stands_on_a_broken_rule_is_not_reached() -> None:
    assert verdicts("R-MSG-8", "R-MSG-9") == {
        "R-MSG-8": Verdict.FAIL,
        "R-MSG-9": Verdict.NOT_REACHED,
    }
    assert verdicts("R-MSG-9", "R-MSG-8") == {
        "R-MSG-8": Verdict.FAIL,
        "R-MSG-9": Verdict.NOT_REACHED,
    }
    assert verdicts("R-MSG-9") == {"R-MSG-9": Verdict.FAIL}
    assert "R-MSG-8" in rule_dependencies.judged([failure("R-MSG-8"), failure("R-MSG-9")])[1].actual


def test_what_failed_over_another_packet_does_not_stand_on_the_history() -> None:
    def verdict(request: str) -> Verdict:
        history = dataclasses.replace(failure("R-HIST-1"), request="get_messages")
        file = dataclasses.replace(failure("R-FILE-1"), request=request)
        return rule_dependencies.judged([history, file])[1].verdict

    assert verdict("file_send_init") is Verdict.FAIL
    assert verdict("get_messages") is verdict("") is Verdict.NOT_REACHED


def test_who_does_not_know_a_request_is_blamed_for_that_once() -> None:
    def failed(rule: str, came: str) -> Outcome:
        return dataclasses.replace(failure(rule), request="file_send_init", actual=came)

    asked = [failed("R-FILE-1", 'an "error" 1'), failed("R-FILE-6", 'an "error" 22')]
    asked.append(failed("R-FILE-2", "another number"))
    verdicts = [(one.verdict, one.waits_for) for one in rule_dependencies.judged(asked)]
    waits = (Verdict.NOT_REACHED, "R-FILE-1")
    assert verdicts == [(Verdict.FAIL, ""), waits, (Verdict.FAIL, "")]


def test_of_two_that_stand_on_each_other_the_first_is_to_blame() -> None:
    assert verdicts("R-MSG-1", "R-MSG-16") == {
        "R-MSG-1": Verdict.FAIL,
        "R-MSG-16": Verdict.NOT_REACHED,
    }
    assert verdicts("R-MSG-16", "R-MSG-1") == {
        "R-MSG-16": Verdict.FAIL,
        "R-MSG-1": Verdict.NOT_REACHED,
    }


@pytest.mark.parametrize(
    "rules",
    list(itertools.permutations(("R-MSG-1", "R-MSG-16", "R-MSG-4", "R-ERR-7"))),
    ids=" ".join,
)
def test_somebody_is_always_to_blame(rules: tuple[str, ...]) -> None:
    assert Verdict.FAIL in verdicts(*rules).values()


def test_the_table_of_dependencies_names_rules() -> None:
    for globs, needed in rule_dependencies.DEPENDS_ON:
        assert set(needed.split()) <= set(RULES)
        assert all(fnmatch.filter(RULES, glob.lstrip("-")) for glob in globs.split()), globs


@pytest.mark.long
def test_references_pass_every_case() -> None:
    for report in (grade_server(ReferenceServer), grade_client("support.reference_client")):
        assert report.count(Verdict.PASS) + report.count(Verdict.NOT_OFFERED) == len(
            report.outcomes
        ), told(report)


@pytest.mark.long
@pytest.mark.parametrize("fault", SERVER_FAULTS, ids=lambda fault: fault.name)
def test_planted_fault_is_found_by_all_cases_around_it(fault: Fault) -> None:
    if complaint(fault, grade(fault, cases_around(fault), QUICK_SECONDS)):
        assert complaint(fault, grade(fault, cases_around(fault))) == ""


@pytest.mark.hours
@pytest.mark.parametrize(
    "fault", [fault for fault in FAULTS.values() if fault.whole], ids=lambda fault: fault.name
)
def test_planted_fault_is_found_by_the_whole_kit(fault: Fault) -> None:
    assert complaint(fault, grade(fault, wait=LONG_SECONDS)) == ""


def overridden(fault: Fault) -> set[str]:
    """What a fault changes of the reference, as names."""
    kinds = itertools.takewhile(lambda kind: kind is not ReferenceServer, fault.kind.__mro__)
    return {name for kind in kinds for name in vars(kind) if not name.startswith("__")}


def pairs_of_faults() -> list[tuple[Fault, Fault]]:
    """All pairs of faults of servers that can be planted together, and are found for certain and
    without waiting in vain."""
    sure = [fault for fault in SERVER_FAULTS if fault.whole and not fault.waits]
    return [
        (one, other)
        for one, other in itertools.combinations(sure, 2)
        if not overridden(one) & overridden(other)
    ]


def passed(report: Report) -> dict[str, bool]:
    """By case: whether it passed."""
    return {one.case_id: one.verdict is Verdict.PASS for one in report.outcomes}


def unfair(one: Report, other: Report, both: Report) -> list[str]:
    """The cases in which two faults together are better than one of them, or worse than each."""
    first, second, together = passed(one), passed(other), passed(both)
    better = [
        case
        for case, passes in together.items()
        if passes and not (first.get(case, True) and second.get(case, True))
    ]
    worse = [
        case
        for case, passes in together.items()
        if not passes and first.get(case, False) and second.get(case, False)
    ]
    return [f"{case}: better" for case in better] + [f"{case}: worse" for case in worse]


def planted_together(pair: tuple[Fault, Fault], wait: float) -> Report:
    """The report on both, over the cases close to each."""
    ids = list(dict.fromkeys([*cases_close_to(pair[0]), *cases_close_to(pair[1])]))
    return grade_server(type("Both", (pair[0].kind, pair[1].kind), {}), ids, wait)


def named(pair: tuple[Fault, Fault]) -> str:
    return f"{pair[0].name}+{pair[1].name}"


@pytest.mark.parametrize(
    "pair", drawn("pairs of faults").sample(pairs_of_faults(), SOME_PAIRS), ids=named
)
def test_one_fault_more_never_raises_the_score_nor_costs_more_than_alone(
    pair: tuple[Fault, Fault], quick: Quick
) -> None:
    """Each rule gives the share of its cases that pass: so what two faults lose together must be
    what the one loses and what the other loses, case by case."""
    one, other = (quick[fault.name].result(timeout=patience(300)) for fault in pair)
    if unfair(one, other, planted_together(pair, QUICK_SECONDS)):
        one, other = (grade(fault, cases_close_to(fault)) for fault in pair)
        both = planted_together(pair, PATIENT_SECONDS)
        assert not unfair(one, other, both), told(both)


@pytest.fixture(scope="module")
def alone() -> Callable[[Fault], Report]:
    """What each fault loses alone, of all cases that are not slow; each is graded once."""
    return functools.cache(lambda fault: grade_server(fault.kind, quick_cases(), LONG_SECONDS))


@pytest.mark.hours
@pytest.mark.parametrize("fault", SERVER_FAULTS, ids=lambda fault: fault.name)
def test_every_pair_of_faults_loses_what_each_loses(
    fault: Fault, alone: Callable[[Fault], Report]
) -> None:
    for pair in pairs_of_faults():
        if pair[0] is not fault:
            continue
        one, other = (alone(each) for each in pair)
        if unfair(one, other, planted_together(pair, LONG_SECONDS)):
            both = planted_together(pair, PATIENT_SECONDS)
            assert not unfair(one, other, both), told(both)


def test_every_fault_is_a_variation_of_a_reference() -> None:
    assert all(issubclass(fault.kind, (ReferenceServer, PlainClient)) for fault in FAULTS.values())
