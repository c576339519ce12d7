"""The files of the pages: colours by rule, readable from a `.pyz`, and nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support.patience import patience

from webpage import assets

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT / "webpage" / "assets"
RELAY = ROOT / "conformance" / "relay" / "page"
BOARD = ROOT / "conformance" / "board" / "page"
FILES = sorted([*SHARED.iterdir(), *RELAY.iterdir(), *BOARD.iterdir()])
GROUNDS = ("bg", "panel", "chosen")
TEXTS = (
    "ink",
    "soft",
    "accent",
    "good",
    "bad",
    "blue",
    "purple",
    "green",
    "olive",
    "orange",
    "teal",
    "grey",
    "red",
)


def palettes() -> tuple[dict[str, str], dict[str, str]]:
    """The colours of the light theme and of the dark one, by name."""
    text = (SHARED / "webpage.css").read_text("utf-8")
    found = re.findall(r"--(\w+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);", text)
    return {name: each for name, each, _ in found}, {name: each for name, _, each in found}


def brightness(colour: str) -> float:
    """The relative luminance of WCAG 2, 0 to 1."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, 1 to 21."""
    dark, light = sorted((brightness(one), brightness(other)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_counted_as_wcag_does() -> None:
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_each_colour_of_a_text_has_enough_contrast_to_each_ground() -> None:
    for palette in palettes():
        for ground in GROUNDS:
            for text in TEXTS:
                ratio = contrast(palette[text], palette[ground])
                assert ratio >= 4.5, f"--{text} on --{ground}: {ratio:.2f}"
            assert contrast(palette["line"], palette[ground]) >= 3, f"--line on --{ground}"


def test_a_style_uses_only_colours_that_are_counted() -> None:
    for file in FILES:
        if file.suffix == ".css":
            text = file.read_text("utf-8")
            if file.parent == SHARED:
                text = re.sub(r":root[^{]*\{[^}]*\}", "", text)
            assert not re.findall(r"#[0-9a-f]{3,8}\b|rgba?\(|hsl", text), file.name
            used = set(re.findall(r"var\(--(\w+)\)", text)) - {"colour"}
            assert used <= palettes()[0].keys(), file.name


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.parent.name}-{file.name}")
def test_a_file_asks_for_nothing_from_elsewhere_and_makes_no_markup(file: Path) -> None:
    text = file.read_text("utf-8")
    addresses = [each for each in re.findall(r"https?://[^\s\"')]+", text) if "w3.org" not in each]
    assert not addresses
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function"
    assert not re.search(forbidden, text)
    assert not re.search(r"<script>|\bon\w+=\"|style=\"", text), "the policy would refuse it"
    assert text.count("\n") <= 700


@pytest.mark.parametrize("folder", [RELAY, BOARD], ids=lambda folder: folder.parent.name)
def test_a_page_names_only_files_that_are_there(folder: Path) -> None:
    served = assets.load(folder)
    for path, asset in served.items():
        for name in re.findall(r"(?:src|href|from) ?=?\"(/[\w/.-]+)\"", asset.data.decode("utf-8")):
            assert name in served, f"{path} names {name}"


@pytest.mark.parametrize("folder", [RELAY, BOARD], ids=lambda folder: folder.parent.name)
def test_every_id_that_a_script_asks_for_is_in_the_page(folder: Path) -> None:
    page = (folder / "index.html").read_text("utf-8")
    ids = re.findall(r' id="([\w-]+)"', page)
    assert len(ids) == len(set(ids))
    files = [file for file in FILES if file.suffix == ".js" and file.parent in (SHARED, folder)]
    scripts = "".join(file.read_text("utf-8") for file in files)
    assert set(re.findall(r'byId\("([\w-]+)"\)', scripts)) <= set(ids)
    assert set(re.findall(r'(?:aria-controls|aria-labelledby|for|list)="([\w-]+)"', page)) <= set(
        ids
    )


def test_the_files_are_read_from_a_pyz(tmp_path: Path) -> None:
    archive = tmp_path / "kit.pyz"
    with zipfile.ZipFile(archive, "w") as packed:
        for folder in ("webpage", "conformance"):
            for file in (ROOT / folder).rglob("*"):
                if file.is_file() and "__pycache__" not in file.parts:
                    packed.write(file, file.relative_to(ROOT))
    program = (
        "import sys, importlib.resources; sys.path.insert(0, sys.argv[1]);"
        " from webpage import Page;"
        " page = Page('127.0.0.1', 0, importlib.resources.files('conformance.relay') / 'page',"
        " 'Relay', {}); print(*sorted(page._content.assets)); page.close()"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, str(archive)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=patience(60),
        check=False,
    )
    assert done.stdout.split() == sorted(assets.load(RELAY)), done.stderr


def test_what_make_kit_packs_is_both() -> None:
    recipe = (ROOT / "Makefile").read_text("utf-8").split("\nkit:", 1)[1].split("\n\n", 1)[0]
    assert "conformance" in recipe and "webpage" in recipe
