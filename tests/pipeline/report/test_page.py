"""The page: what it says, that it asks the network for nothing, and that a browser shows it."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from datetime import datetime, timezone
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from siamed.pipeline.report import REFER_BELOW, CaseRow, render_index, render_report
from siamed.pipeline.report.pictures import MAIN_PIXELS, intensity_window, middle_slice, slice_picture, strip
from siamed.pipeline.scans import read_scan
from siamed.pipeline.spine import SpineReader

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# What a page could fetch from elsewhere. Data URIs and links within the page fetch nothing.
FETCHING = ("src", "href", "srcset", "action", "data", "poster", "xlink:href")


class Page(HTMLParser):
    """Collects what a test asks for: addresses, pictures, drawings, words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.drawings: list[dict[str, str | None]] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.tags: list[str] = []
        self._silent = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        self._silent = tag == "style"
        self.addresses += [v for k, v in attrs if k in FETCHING and v]
        self.ids += [v for k, v in attrs if k == "id" and v]
        if tag == "img":
            self.images.append(values)
        if tag == "svg":
            self.drawings.append(values)

    def handle_data(self, data: str) -> None:
        if not self._silent and data.strip():
            self.words.append(" ".join(data.split()))

    @property
    def text(self) -> str:
        return " ".join(self.words)


@pytest.fixture
def reading(reader: Any, scan_file: Path) -> Any:
    return reader.grade(read_scan(scan_file))


@pytest.fixture
def page(reading: Any) -> Page:
    return Page(render_report(reading))


def test_the_page_names_every_level_grade_and_bundle(page: Page, reading: Any) -> None:
    for vertebra in reading.result.vertebrae:
        assert vertebra.level in page.words
    for disc in reading.result.discs:
        assert disc.level in page.words
    for bundle in reading.result.bundles:
        assert bundle.name in page.words
        assert bundle.sha256 in page.words
    assert reading.result.scan.scan_id in page.words
    assert "Pfirrmann grade" in page.words
    assert "Research use only. Not a diagnosis." in page.text
    assert "expected 4.5" in page.text
    assert "kappa 0.79" in page.text
    assert "1, 2 or 3 at 90 %" in page.text
    assert page.text.count("at 90 %") == 1  # of the others the grade stands alone
    assert "“At 90 %” names the grades" in page.text


def test_what_changed_since_an_earlier_scan_stands_on_the_page(reading: Any) -> None:
    assert "Since an earlier scan" not in Page(render_report(reading)).text
    result = reading.result
    bundles = (result.bundles[0], replace(result.bundles[1], repeatability={"pfirrmann": 0.5}))
    earlier = replace(result, discs=result.discs[:3], scan=replace(result.scan, scan_id="scan-before"))
    given = earlier.discs[0].grades["pfirrmann"]
    moved = replace(given, grade=3, expected=given.expected + 1)
    earlier = replace(
        earlier,
        discs=(
            replace(earlier.discs[0], grades={**earlier.discs[0].grades, "pfirrmann": moved}),
            *earlier.discs[1:],
        ),
    )
    text = Page(
        render_report(replace(reading, result=replace(result, bundles=bundles)).compared([earlier]))
    ).text
    assert "Since an earlier scan 1 of 3 differences is larger" in text
    assert "By repetition alone about 0 of 3 would be." in text
    assert "Not in both scans: L5-S1." in text
    assert "scan-before" in text
    assert "3 → 2 -1.00 beyond noise" in text
    assert text.count("beyond noise") == 1
    assert "± 0.50" in text
    without = Page(render_report(reading.compared([earlier, earlier]))).text
    assert "Since an earlier scan (2 of 2) How far repeated gradings differ is not known" in without
    assert "beyond noise" not in without


def test_discs_are_colored_by_their_grade(reading: Any) -> None:
    html = render_report(reading)
    drawn = re.findall(r'<polygon class="disc grade-(\d)"', html)
    grades = [str(disc.grades["pfirrmann"].grade) for disc in reading.result.discs]
    assert drawn[:4] == grades  # in the large picture
    assert "colored by their Pfirrmann grade" in html


def test_warnings_stand_on_the_page(spine: Any, scan_file: Path) -> None:
    reader = SpineReader(spine.KnowingDetector(warnings=("About 1 vertebra <not> found.",)))
    html = render_report(reader.detect(read_scan(scan_file)))
    assert "About 1 vertebra <not> found." in Page(html).text
    assert "<not>" not in html


def test_the_page_asks_the_network_for_nothing(page: Page, reading: Any) -> None:
    html = render_report(reading)
    assert page.addresses
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in page.addresses)
    assert "http://" not in html
    assert "https://" not in html
    assert "@import" not in html
    assert "url(" not in html
    assert not {"script", "link", "iframe", "object", "embed"} & set(page.tags)
    assert "default-src 'none'" in html


def test_links_within_the_page_lead_somewhere(page: Page) -> None:
    targets = {address[1:] for address in page.addresses if address.startswith("#")}
    assert targets == {"disc-1", "disc-2", "disc-3", "disc-4"}
    assert targets <= set(page.ids)
    assert len(set(page.ids)) == len(page.ids)


def test_every_picture_can_be_read_aloud(page: Page) -> None:
    assert len(page.images) == 3 * 4  # each disc: middle, right, left
    assert all(image["alt"] for image in page.images)
    assert len(page.drawings) == 1 + 4  # the middle slice, and the others that show a body
    assert all(drawing["role"] == "img" and drawing["aria-label"] for drawing in page.drawings)


def test_only_unsure_grades_are_marked(page: Page, reading: Any) -> None:
    unsure = [
        grade
        for disc in reading.result.discs
        for grade in disc.grades.values()
        if grade.confidence < REFER_BELOW
    ]
    assert len(unsure) == 1  # the fake's first disc: 40 %
    assert page.words.count("unsure") == 1  # in the table
    assert page.words.count("refer: unsure") == 2  # at the disc and at its grade


def test_unnamed_bodies_and_discs_have_a_number(spine: Any, scan_file: Path) -> None:
    reader = SpineReader(spine.KnowingDetector((None, None)), spine.CountingGrader())
    text = Page(render_report(reader.grade(read_scan(scan_file)))).text
    assert "body 1 (unnamed)" in text
    assert "Disc between bodies 1 and 2" in text


def test_a_page_without_grades_says_so(reader: Any, scan_file: Path) -> None:
    text = Page(render_report(reader.detect(read_scan(scan_file)))).text
    assert "Found, not graded: L2-L3, L3-L4, L4-L5, L5-S1." in text
    assert "Pfirrmann" not in text


def test_the_same_reading_gives_the_same_page(reading: Any) -> None:
    when = datetime(2020, 2, 3, 4, 5, tzinfo=timezone.utc)
    assert render_report(reading, when) == render_report(reading, when)
    assert "2020-02-03 04:05 UTC" in render_report(reading, when)


def test_outlines_lie_where_the_bodies_are(spine: Any, reading: Any) -> None:
    picture = slice_picture(reading, middle_slice(reading), MAIN_PIXELS, intensity_window(reading))
    assert (picture.height_mm, picture.width_mm) == (220.0, 160.0)
    # The view's top left pixel: the highest z and the highest y of the scan; pixels are 1 mm.
    top = spine.CENTER_MM[2] + 110
    front = spine.CENTER_MM[1] + 80
    for number, outline in enumerate(o for o in picture.outlines if o.kind == "body"):
        points = np.array([pair.split(",") for pair in outline.points.split()], float)
        corners = spine.corners_mm(number, 0.0)
        np.testing.assert_allclose(points, np.c_[front - corners[:, 1], top - corners[:, 2]], atol=0.05)


@pytest.mark.parametrize("pixels", [640, 100, 37])
def test_a_smaller_picture_keeps_its_scale(reading: Any, pixels: int) -> None:
    picture = slice_picture(reading, 3, pixels, intensity_window(reading))
    assert 220 <= picture.height_mm < 220 + pixels
    assert 160 <= picture.width_mm < 160 + pixels


def test_a_body_missing_from_the_slice_is_borrowed_or_left_out(reading: Any) -> None:
    window = intensity_window(reading)
    assert slice_picture(reading, 0, 640, window).outlines == ()
    borrowed = slice_picture(reading, 0, 640, window, borrow=True).outlines
    assert len([o for o in borrowed if o.kind == "body" and o.borrowed]) == 5


def test_the_strip_shows_slices_with_bodies_and_not_the_middle_one(reading: Any) -> None:
    assert strip(reading) == [1, 2, 4, 5]
    assert strip(reading, 2) == [1, 5]


def test_the_index_links_done_cases_and_explains_failed_ones(reading: Any) -> None:
    rows = [
        CaseRow("a b#1", "a b#1", reading.result),
        CaseRow("bad", "bad", None, "axial-series", "the slices are <axial>", "Give the sagittal series."),
    ]
    html = render_index(rows, "spine_index.html.j2")
    page = Page(html)
    assert page.addresses == ["a%20b%231/report.html"]
    assert "the slices are <axial>. Give the sagittal series." in page.text
    assert "1 of 2 cases done" in page.text
    assert "http" not in html.replace("http-equiv", "")


@pytest.fixture(scope="session")
def browser() -> str:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser to open the page in: none of {', '.join(BROWSERS)}")
    return found


def test_a_browser_shows_the_page(browser: str, reading: Any, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(render_report(reading), encoding="utf-8")
    common = (
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-dev-shm-usage",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--window-size=1200,1600",
        "--virtual-time-budget=2000",
    )
    shot = tmp_path / "shot.png"
    ran = subprocess.run(
        [*common, f"--screenshot={shot}", "--dump-dom", file.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    dom = ran.stdout
    if not dom:  # some versions do one thing at a time
        dom = subprocess.run(
            [*common, "--dump-dom", file.as_uri()], capture_output=True, text=True, timeout=120, check=False
        ).stdout
    shown = Page(dom)
    for disc in reading.result.discs:
        assert disc.level in shown.words
        assert str(disc.grades["pfirrmann"].grade) in shown.words
    for vertebra in reading.result.vertebrae:
        assert vertebra.level in shown.words
    assert not re.search(r"https?://", dom)
    assert shot.stat().st_size > 20_000  # an empty page of this size packs into far less
