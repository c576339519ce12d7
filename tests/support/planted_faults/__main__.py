"""Run a client with a fault, for the kit to start.

python -m support.planted_faults NAME HOST PORT USER PASSWORD FOLDER
"""

from __future__ import annotations

import sys

from support.planted_faults import FAULTS
from support.reference_client import main

main(FAULTS[sys.argv[1]].kind, sys.argv[2:7])
