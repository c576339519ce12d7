"""`python -m benchmarks`: start a server, load it beside its peers, and show what it takes.

Prints a table, and writes JSON and an HTML page where asked. The short form takes under two
minutes, `--full` a quarter of an hour. Everything is on loopback, in folders that are removed at
the end. Figures, never pass or fail: the exit status is 0 when all that was asked for could be
measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import machine, page, plots, targets
from benchmarks.running import LoadFailed
from benchmarks.sizes import FULL, SHORT, Sizes
from benchmarks.workloads import WORKLOADS


def main() -> int:
    """Measure what the options ask for; return the exit status."""
    options = _options()
    if options.again:
        report = json.loads(Path(options.again).read_text("utf-8"))
    else:
        report, failed = measure(
            options.only or [workload.name for workload in WORKLOADS], _sizes(options)
        )
    _write(options, report)
    return 0 if options.again or not failed else 1


def measure(names: list[str], sizes: Sizes) -> tuple[dict[str, Any], list[str]]:
    """Measure the workloads of these names in turn. Return the report, and the names of those that
    could not be measured."""
    about = machine.description()
    print(
        f"{about['python']} on {about['system']}, {about['cores']} cores of {about['processor']}",
        flush=True,
    )
    if machine.cpu_seconds(1) is None and not sys.platform.startswith("linux"):
        print("CPU and memory of a server are not measured here: only Linux tells them", flush=True)
    begun, results, failed = time.time(), {}, []
    for workload in WORKLOADS:
        if workload.name not in names:
            continue
        if time.time() - begun > sizes.budget_seconds:
            print(
                f"{workload.name}: left out, to end within two minutes; --only {workload.name} "
                "measures it",
                flush=True,
            )
            continue
        print(f"{workload.name}: {workload.title}", flush=True)
        try:
            results[workload.name] = workload.measure(sizes)
        except (LoadFailed, OSError) as error:
            failed.append(workload.name)
            print(f"    could not be measured: {error}", flush=True)
    found = targets.rows(results)
    report = {
        "machine": about,
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(begun)),
        "seconds": round(time.time() - begun, 1),
        "sizes": {key: value for key, value in vars(sizes).items() if key != "say"},
        "titles": {workload.name: workload.title for workload in WORKLOADS},
        "results": results,
        "targets": [row.as_json() for row in found],
    }
    print_table(found)
    return report, failed


def print_table(found: list[targets.Row]) -> None:
    """Print the targets that were measured."""
    measured = [row for row in found if row.measured is not None]
    if not measured:
        return
    print(f"\n{'':<10} {'':<54} {'measured':>14} {'target':>20}")
    for row in measured:
        limit = ("at least " if row.at_least else "at most ") + targets.shown(row.limit, row.unit)
        mark = "" if row.reached else "   not reached"
        print(
            f"{row.workload:<10} {row.what:<54} {targets.shown(row.measured, row.unit):>14} "
            f"{limit:>20}{mark}"
        )


def _options() -> argparse.Namespace:
    names = [workload.name for workload in WORKLOADS]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure the server on this machine, beside its peers where they are"
        " installed.",
        epilog="Measurements: "
        + "; ".join(f"{workload.name} ({workload.title})" for workload in WORKLOADS)
        + ".",
    )
    parser.add_argument(
        "--full",
        action="store_true",
        help="the long form: larger numbers, five rounds (a quarter of an hour)",
    )
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        choices=names,
        help="only this measurement; may be given again",
    )
    parser.add_argument("--json", metavar="FILE", help="write all figures to this file")
    parser.add_argument("--html", metavar="FILE", help="write a page with plots to this file")
    parser.add_argument(
        "--plots", metavar="FOLDER", help="write the plots as SVG files into this folder"
    )
    parser.add_argument(
        "--repeat",
        type=_positive,
        metavar="N",
        help="rounds of each comparison; medians are shown (1, with --full 5)",
    )
    parser.add_argument("--seconds", type=float, metavar="S", help="measured seconds of each load")
    parser.add_argument("--members", type=_positive, metavar="N", help="members of the rooms (200)")
    parser.add_argument(
        "--idle", type=_positive, metavar="N", help="idle clients (1000, with --full 10000)"
    )
    parser.add_argument(
        "--again",
        metavar="FILE",
        help="measure nothing: make the page and the plots from a file that --json wrote",
    )
    return parser.parse_args()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, got {text}")
    return number


def _sizes(options: argparse.Namespace) -> Sizes:
    given = {
        key: value
        for key in ("repeat", "seconds", "members", "idle")
        if (value := getattr(options, key)) is not None
    }
    return dataclasses.replace(
        FULL if options.full else SHORT, say=lambda line: print(line, flush=True), **given
    )


def _write(options: argparse.Namespace, report: dict[str, Any]) -> None:
    if options.json and not options.again:
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n", "utf-8")
        print(f"figures: {options.json}")
    if options.html:
        Path(options.html).write_text(page.html(report), "utf-8")
        print(f"page: {options.html}")
    if options.plots:
        folder = Path(options.plots)
        folder.mkdir(parents=True, exist_ok=True)
        for name, svg in plots.all_plots(report).items():
            (folder / f"{name}.svg").write_text(svg, "utf-8")
        print(f"plots: {folder}")


if __name__ == "__main__":
    sys.exit(main())
