"""An option of the server as an argument of the command line.

Owns how one is declared to argparse. Called once, by the main thread.
"""

from __future__ import annotations

import argparse

from server.base.settings import FLAG, Option


def add_option(parser: argparse.ArgumentParser, option: Option, default: str | None) -> None:
    help_line = option.help_line().replace("%", "%%")
    if option.kind is FLAG:
        parser.add_argument(
            option.flag,
            dest=option.name,
            action="store_const",
            const="yes",
            default=default,
            help=help_line,
        )
        parser.add_argument(
            option.negative_flag,
            dest=option.name,
            action="store_const",
            const="no",
            default=default,
            help="the opposite",
        )
    else:
        parser.add_argument(
            option.flag,
            dest=option.name,
            metavar=option.kind.metavar,
            default=default,
            help=help_line,
        )
