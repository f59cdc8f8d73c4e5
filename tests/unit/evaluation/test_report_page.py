"""The page of a report draws everything by itself, in a browser that may load nothing."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import matgen.evaluation
from matgen.evaluation.report import Report
from matgen.evaluation.report_page import page_of, write_page
from matgen.evaluation.report_page_data import packed, page_data
from matgen.evaluation.targets import targets
from matgen.records import Crystal, Measurement, Relaxation, Sample
from tests.unit.evaluation.browser import Opened, chromium, opened

if TYPE_CHECKING:
    from playwright.sync_api import Browser

N = 30
ASKED = 32
PAIR = np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]])
SALTS = ((55, 17), (37, 35), (11, 9), (3, 53), (19, 17), (12, 8))


def _salt(i: int) -> Crystal:
    return Crystal(np.eye(3) * (3.6 + 0.05 * i), PAIR, np.array(SALTS[i % len(SALTS)]))


def _settings(label: str) -> dict[str, object]:
    return {
        "protocol": {"name": label.split("/", maxsplit=1)[0], "label": label},
        "relaxer": {"use": "toy:still", "settings": {"max_steps": 3}},
        "hull": {"use": "toy:zero", "settings": {}},
        "reference": {"description": "</script><script>alert(1)</script>", "crystals": 2},
        "geometry_compared": "relaxed",
        "matcher": {"length": 0.2},
        "rmsd_matcher": {"length": 0.5},
        "symprec_ang": 0.01,
        "versions": {"matgen": "1"},
    }


def make_report(label: str = "toy/still", *, n: int = N, asked: int = ASKED) -> Report:
    """Salts of which every fifth failed, with what the usual evaluators find."""
    rng = np.random.default_rng(0)
    gone = {i for i in range(n) if i % 5 == 4}
    samples = [
        Sample(i, None, error="<b>unfinished</b>") if i in gone else Sample(i, _salt(i))
        for i in range(n)
    ]
    relaxations = [
        Relaxation(None, error="unfinished") if i in gone else Relaxation(_salt(i), -1.0, 0.0, True)
        for i in range(n)
    ]

    def flags(share: float) -> list[float | str | bool | None]:
        found: list[float | str | bool | None] = [
            None if i in gone else bool(rng.random() < share) for i in range(n)
        ]
        return found + [None] * (asked - n)

    def values(scale: float) -> list[float | str | bool | None]:
        found: list[float | str | bool | None] = [
            None if i in gone else float(rng.exponential(scale)) for i in range(n)
        ]
        return found + [None] * (asked - n)

    energy = values(0.2)
    stable = [None if e is None else e <= 0.1 for e in energy]  # type: ignore[operator]  # floats
    novel, unique = flags(0.7), flags(0.9)
    columns: dict[str, list[float | str | bool | None]] = {
        "valid": flags(0.8),
        "novel": novel,
        "unique": unique,
        "energy_above_hull": energy,
        "stable": list(stable),
        "sun": [
            None if a is None else bool(a and b and c)
            for a, b, c in zip(stable, novel, unique, strict=True)
        ],
        "rmsd": values(0.1),
    }
    density: list[float | str | bool | None] = [float(2 + i % 3) for i in range(n)]
    wanted: list[float | str | bool | None] = ["CsCl" if i % 2 else "LiI" for i in range(n)]
    asked_for = {
        "density_requested": density + [None] * (asked - n),
        "density_achieved": values(4.0),
        "formula_requested": wanted + [None] * (asked - n),
        "formula_reached_relaxed_0.01": flags(0.5),
    }
    measured = Measurement(
        asked=asked,
        per_sample=columns,
        summary={
            **{
                name: sum(value is True for value in columns[name]) / asked
                for name in ("valid", "novel", "unique", "stable", "sun")
            },
            "energy_above_hull_mean": float(np.mean([e for e in energy if e is not None])),
        },
        units={"energy_above_hull": "eV/atom", "energy_above_hull_mean": "eV/atom", "rmsd": "Å"},
        notes={"threshold_ev_per_atom": 0.1},
    )
    achieved = Measurement(asked=asked, per_sample=asked_for, units={"density_achieved": "g/cm3"})
    skipped = Measurement(asked=asked, skipped="needs truth")
    measurements = {"all": measured, "achieved": achieved, "csp": skipped}
    return Report(samples, asked, measurements, relaxations, _settings(label))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def look(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    path = tmp_path_factory.mktemp("page") / "out.html"
    write_page(make_report(), path)
    return opened(browser, path)


def test_a_packed_crystal_reads_back() -> None:
    crystal = Crystal(
        np.array([[4.0, 0, 0], [1.5, 5, 0], [0, 0.25, 6]]),
        np.array([[0.999999, -0.25, 1.125], [0.1, 0.2, 0.3]]),
        np.array([55, 118]),
    )
    raw = base64.b64decode(packed(crystal))
    assert len(raw) == 36 + 7 * 2
    assert np.allclose(np.frombuffer(raw[:36], "<f4").reshape(3, 3), crystal.lattice)
    assert list(raw[36:38]) == [55, 118]
    frac = np.frombuffer(raw[38:], "<u2").reshape(2, 3) / 65536
    off = (frac - crystal.frac + 0.5) % 1.0 - 0.5
    assert np.abs(off).max() <= 0.5 / 65536 + 1e-9


def test_the_vendored_library_is_the_one_that_its_readme_names() -> None:
    folder = Path(matgen.evaluation.__file__).parent / "page" / "vendor"
    (row,) = re.findall(r"`([^`]+\.js)` \|.*`([0-9a-f]{64})`", (folder / "README.md").read_text())
    assert hashlib.sha256((folder / row[0]).read_bytes()).hexdigest() == row[1]


def test_a_thousand_samples_make_a_small_page() -> None:
    page = page_of(make_report(n=1000, asked=1000))
    assert len(page.encode()) < 8_000_000


def test_targets_of_many_values_are_gathered_and_those_without_value_left_out() -> None:
    report = make_report()
    density, formula = targets(report)
    groups = density["groups"]
    assert isinstance(groups, list)
    assert [group["requested"] for group in groups] == [2.0, 3.0, 4.0]
    assert sum(group["n"] for group in groups) == 24
    assert all(group["low"] <= group["mean"] <= group["high"] for group in groups)
    (series,) = formula["shares"]  # type: ignore[misc]  # a list here
    assert series["name"] == "relaxed, at 0.01 Å"
    assert {share["requested"]: share["n"] for share in series["values"]} == {"CsCl": 15, "LiI": 15}


def test_published_columns_stand_only_under_the_very_same_label() -> None:
    assert page_data(make_report("mattergen"))["published"]
    assert not page_data(make_report("mattergen/chgnet"))["published"]


def test_text_from_samples_cannot_end_the_data() -> None:
    page = page_of(make_report())
    data = page.split('id="data">')[1]
    assert "<\\/script><script>alert(1)<\\/script>" in data.split("</script>")[0]


@pytest.mark.slow
class TestInABrowser:
    def test_it_is_drawn_without_a_complaint_or_a_request(self, look: Opened) -> None:
        look.page.locator("#viewer").scroll_into_view_if_needed()
        look.page.wait_for_selector("#viewer canvas")
        look.page.wait_for_selector("#viewer[data-sites]")
        for chart in ("chart-hull", "chart-rmsd", "chart-groups", "chart-novelty"):
            look.page.locator(f"#{chart}").scroll_into_view_if_needed()
            look.page.wait_for_selector(f"#{chart}[data-drawn] .main-svg")
        look.page.locator("#target-charts").scroll_into_view_if_needed()
        assert look.page.locator("#target-charts figure").count() == 2
        assert look.complaints == []
        inside = ("file:", "blob:", "data:")
        assert [url for url in look.requests if not url.startswith(inside)] == []

    def test_tables_have_a_row_for_everything(self, look: Opened) -> None:
        look.press("#filters [type=reset]")
        assert look.rows("sample-table") == ASKED
        assert look.rows("figure-table") == 7
        statuses = look.page.locator("#status-table tbody tr td:first-child").all_inner_texts()
        assert statuses == ["ok", "not sampled", "no crystal"]
        assert look.page.locator("#cards .card").count() == 5

    def test_previous_and_next_change_the_crystal_that_is_drawn(self, look: Opened) -> None:
        look.press("#filters [type=reset]")
        look.page.locator("#viewer").scroll_into_view_if_needed()
        look.page.wait_for_selector("#viewer canvas")
        first = look.data("viewer", "drawn")
        before = look.page.locator("#viewer canvas").screenshot()
        look.page.click("#next")  # as a hand does, once
        second = look.data("viewer", "drawn")
        assert second != first
        assert look.data("viewer", "sites") == "9"  # eight corners and the centre
        assert look.page.locator("#viewer canvas").screenshot() != before
        look.page.focus("#viewer")
        look.page.keyboard.press("ArrowLeft")
        assert look.data("viewer", "drawn") == first
        look.press("#previous")
        look.press("#next")
        assert look.data("viewer", "drawn") == first

    def test_more_cells_and_the_other_geometry_are_drawn(self, look: Opened) -> None:
        look.page.select_option("#cells", "2")
        assert look.data("viewer", "sites") == str(27 + 8)
        look.page.select_option("#geometry", "sampled")
        assert look.data("viewer", "sites") == str(27 + 8)
        look.page.select_option("#cells", "1")

    def test_filters_leave_what_they_say(self, look: Opened) -> None:
        sun = sum(value is True for value in make_report().columns["sun"])
        look.press("#only-sun")
        assert look.data("sample-table", "found") == str(sun)
        look.press("#filters [type=reset]")
        look.page.fill("#search", "cscl")
        assert look.data("sample-table", "found") == "4"
        look.press("#filters [type=reset]")
        look.press("#periodic [data-element=Mg]")
        assert look.data("sample-table", "found") == "4"
        assert look.page.input_value("#element") == "Mg"
        look.press("#filters [type=reset]")
        look.page.wait_for_selector(f'#sample-table[data-found="{ASKED}"]')

    def test_sorting_puts_samples_without_a_value_last_either_way(self, look: Opened) -> None:
        header = look.page.locator("#sample-table th button", has_text="above hull")
        cells = look.page.locator("#sample-table tbody tr td:nth-child(6)")
        for _ in range(2):
            header.dispatch_event("click")
            texts = cells.all_inner_texts()
            known = [float(text) for text in texts if text != "–"]
            assert known == sorted(known, reverse=known[0] > known[-1])
            assert set(texts[len(known) :]) == {"–"}

    def test_what_a_sample_says_is_text_and_no_markup(self, look: Opened) -> None:
        look.page.select_option("#status", "no crystal")
        look.press("#sample-table tbody button")
        assert "<b>unfinished</b>" in look.page.inner_text("#sample-details")
        assert look.page.locator("#sample-details b").count() == 0
        look.press("#filters [type=reset]")


@pytest.mark.slow
def test_on_a_phone_in_the_dark_nothing_sticks_out(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write_page(make_report("mattergen/chgnet(max_steps=15)+hull_mp2020+ref_mp_le20"), path)
    look = opened(browser, path, scheme="dark", width=390)
    assert look.page.evaluate("document.documentElement.scrollWidth") <= 390
    ground = look.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(map(int, re.findall(r"\d+", ground)[:3])) < 150
    assert look.complaints == []
