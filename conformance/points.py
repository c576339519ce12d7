"""Points by rule, from a teacher's file: INI (`[points]`, then `R-MSG-* = 3` a line) or one JSON
object.

Pure but for reading the file. Later lines count more than earlier ones, so that `* = 0` may stand
first.
"""

from __future__ import annotations

import configparser
import json
import math
from typing import Any

from conformance import text_files
from conformance.rules import matching


class BadPoints(ValueError):
    """The file can't be used; the text says where and what was expected."""


def read(path: str) -> dict[str, float]:
    """Read points by rule id; rules that the file does not name keep their own."""
    try:
        text = text_files.read(path)
    except (OSError, ValueError) as error:
        raise BadPoints(f"{path} can't be read: {error}") from error
    pairs = _from_json(path, text) if text.lstrip().startswith("{") else _from_ini(path, text)
    points: dict[str, float] = {}
    for glob, value in pairs:
        try:
            worth = float(value)
            names = matching([glob])
        except (TypeError, ValueError) as error:
            raise BadPoints(f"{path}, {glob}: {error}") from error
        if not math.isfinite(worth) or worth < 0 or isinstance(value, bool):
            raise BadPoints(f"{path}, {glob}: expected points from 0, but {value!r} came")
        points.update(dict.fromkeys(names, worth))
    return points


def _from_json(path: str, text: str) -> list[tuple[str, Any]]:
    try:
        whole = json.loads(text)
    except ValueError as error:
        raise BadPoints(f"{path} is no JSON: {error}") from error
    inner = whole.get("points", whole)
    if not isinstance(inner, dict):
        raise BadPoints(f"{path}: expected an object of rules and their points")
    return list(inner.items())


def _from_ini(path: str, text: str) -> list[tuple[str, Any]]:
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # keep capitals: rules are written with them
    try:
        parser.read_string(text if "[" in text else "[points]\n" + text, path)
    except configparser.Error as error:
        raise BadPoints(f"{path} can't be read: {error}") from error
    if not parser.has_section("points"):
        raise BadPoints(f"{path}: expected a section [points] with lines as R-MSG-* = 3")
    return list(parser.items("points"))
