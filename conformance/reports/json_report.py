"""The report as JSON: all that is known, for programs. Read it back with `Report.from_json`."""

from __future__ import annotations

import json

from conformance.verdicts import Report


def render(report: Report) -> str:
    """Return the report and its summary; only ASCII, so that half a surrogate pair of a peer can't
    spoil the file."""
    return json.dumps(report.to_json(), indent=1) + "\n"
