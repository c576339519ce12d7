"""Servers and clients with one planted fault each, as variations of the two references, and the
rules that each breaks.

Owns the table `FAULTS`, which a module for each chapter fills. tests/conformance/test_faults.py
runs the kit against each and expects exactly the declared rules to fail.
"""

from __future__ import annotations

from support.planted_faults import (
    clients,
    combined,
    combined_answers,
    combined_files,
    combined_names_and_forms,
    combined_rooms_and_marks,
    combined_transfers,
    details,
    errors,
    files,
    frames,
    further,
    history,
    limits,
    messages,
    packets,
    privacy,
    races,
    rooms,
    sessions,
    texts,
)
from support.planted_faults.plant import FAULTS, Fault

CHAPTERS = (
    frames,
    packets,
    errors,
    sessions,
    messages,
    history,
    files,
    rooms,
    races,
    texts,
    privacy,
    further,
    details,
    limits,
    combined,
    combined_files,
    combined_names_and_forms,
    combined_transfers,
    combined_answers,
    combined_rooms_and_marks,
    clients,
)

__all__ = ["CHAPTERS", "FAULTS", "Fault"]
