"""The page in a real browser: it is drawn without the network, and the numbers that it shows are those of its data."""

import dataclasses
import html
import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from tfmot_swd.report.markup import look_up

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason=f"no browser: install one of {', '.join(NAMES)}")

# How a shown number is read again, by style: the number, and what a rounding in its last digit may change.
UNITS = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


class Shown(HTMLParser):
    """Collects the text of <data> elements by key, and that of the embedded JSON."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str, str]] = []
        self.json = ""
        self._inside: tuple[str, str] | str | None = None

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag == "data":
            self._inside = attributes["data-key"], attributes["data-style"]
        elif attributes.get("id") == "report-data":
            self._inside = "json"

    def handle_endtag(self, tag):
        if tag in ("data", "script"):
            self._inside = None

    def handle_data(self, data):
        if self._inside == "json":
            self.json += data
        elif self._inside is not None:
            self.found.append((*self._inside, data))


def browse(path, profile, *more):
    url = path.resolve().as_uri()
    command = [BROWSER, *FLAGS, f"--user-data-dir={profile}", *more, url]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def close_to(value, style, text):
    """Whether the text is the value, rounded as its style rounds."""
    if style == "count":
        return int(text.replace(",", "")) == value
    if style in ("share", "round"):
        return abs(float(text.removesuffix(" %")) / 100 - value) <= (5.01e-5 if style == "share" else 5.01e-3)
    if style == "ratio":
        return abs(float(text.removesuffix("x")) - value) <= 5.01e-3
    text = text.removesuffix(" ms") if style == "milliseconds" else text
    text = text.removesuffix("B").replace(" ", "") if style == "bytes" else text
    digits, unit = re.fullmatch(r"([-\d.e]+)([kMGT]?)", text).groups()
    return float(digits) * UNITS[unit] == pytest.approx(value, rel=5.01e-3, abs=1e-12)


def test_the_numbers_shown_are_those_of_the_data(report, tmp_path):
    path = report.write_html(tmp_path / "report.html")
    shown = Shown()
    shown.feed(browse(path, tmp_path / "profile", "--dump-dom").stdout)
    data = json.loads(shown.json)
    assert data == report.to_dict()
    wrong = [each for each in shown.found if not close_to(look_up(data, each[0]), *each[1:])]
    assert not wrong
    keys = {key for key, _, _ in shown.found}
    rows = {f"layers/{index}": row for index, row in enumerate(data["layers"])} | {"totals": data["totals"]}
    rows |= {f"files/{index}": row for index, row in enumerate(data["files"])}
    numbers = {
        f"{place}/{name}"
        for place, row in rows.items()
        for name, value in row.items()
        if isinstance(value, int | float) and name not in ("samples", "weights", "zeros")
    }
    assert numbers <= keys
    assert {
        "files/1/latency/0/ratio",
        "files/1/zeros:files/1/weights",
        "barriers/0/of",
        "panels/0/series/0/y/1",
    } <= keys


# Reads a page in a frame: the names of the classes that have colours, and the two colours that matter for each.
SCHEMES = """
const rgb = text => text.match(/[\\d.]+/g).slice(0, 3).map(Number)
const light = color => rgb(color).map(each => each / 255)
  .map(each => each <= .04045 ? each / 12.92 : ((each + .055) / 1.055) ** 2.4)
  .reduce((sum, each, index) => sum + [.2126, .7152, .0722][index] * each, 0)
const contrast = (one, other) => {
  const [low, high] = [light(one), light(other)].sort((a, b) => a - b)
  return (high + .05) / (low + .05)
}
onload = () => {
  const page = document.querySelector('iframe').contentDocument, style = each => getComputedStyle(each)
  const card = style(page.querySelector('.card')).backgroundColor, of = (name, key) =>
    Array.from(page.querySelectorAll(name), each => contrast(style(each)[key], card))
  document.title = JSON.stringify({
    page: light(style(page.body).backgroundColor), card: light(card),
    text: Math.min(...of('.card *:not(svg *)', 'color')), lines: Math.min(...of('.line', 'stroke')),
    names: Math.min(...of('.name, .tick', 'fill')), bars: Math.min(...of('rect.after, rect.second', 'fill')),
  })
}
"""


@pytest.mark.parametrize(("scheme", "is_dark"), [(0, True), (1, False)])
def test_both_schemes_can_be_read(report, tmp_path, scheme, is_dark):
    path = report.write_html(tmp_path / "report.html")
    frame = f'<iframe style="width: 1280px; height: 2000px" srcdoc="{html.escape(path.read_text())}"></iframe>'
    (tmp_path / "frame.html").write_text(f"{frame}<script>{SCHEMES}</script>")
    emulated = f"--blink-settings=preferredColorScheme={scheme}"
    dom = browse(tmp_path / "frame.html", tmp_path / "profile", emulated, "--dump-dom").stdout
    found = json.loads(html.unescape(re.search(r"<title>(.*?)</title>", dom).group(1)))
    assert (found["page"] < 0.05, found["card"] < 0.05) == (is_dark, is_dark)
    assert (found["page"] > 0.8, found["card"] > 0.8) == (not is_dark, not is_dark)
    # What WCAG 2 asks for at level AA, of text and of what pictures consist of.
    assert min(found["text"], found["names"]) >= 4.5
    assert min(found["lines"], found["bars"]) >= 3


def test_the_page_is_drawn_and_fits_a_telephone(report, tmp_path):
    path = report.write_html(tmp_path / "report.html")
    frames = "".join(
        f'<iframe style="width: {width}px; height: 20000px" srcdoc="{html.escape(path.read_text())}"></iframe>'
        for width in (1280, 390, 320)
    )
    # Browsers have a least width of windows, but not of frames.
    told = "Array.from(frames, each => each.document.documentElement.scrollWidth + ' ' + each.innerWidth)"
    (tmp_path / "frames.html").write_text(f"{frames}<script>onload = () => {{ document.title = {told} }}</script>")
    dom = browse(tmp_path / "frames.html", tmp_path / "profile", "--dump-dom").stdout
    assert re.search(r"<title>(.*?)</title>", dom).group(1) == "1280 1280,390 390,320 320"


# What is cut in a page whose details are all open: boxes that scroll, and what is right of the edge outside of them.
CUT = """
onload = () => {
  document.title = JSON.stringify(Array.from(frames, frame => {
    const page = frame.document, all = Array.from(page.querySelectorAll('main *'))
    const scrolled = Array.from(page.querySelectorAll('.scroll'))
      .filter(each => each.scrollWidth > each.clientWidth).map(each => each.getAttribute('aria-label'))
    const beyond = all.filter(each => !each.closest('.scroll, svg'))
      .filter(each => each.getBoundingClientRect().right > frame.innerWidth + 0.5)
      .map(each => each.outerHTML.slice(0, 80))
    const shown = name => Array.from(page.querySelectorAll(name)).map(each => getComputedStyle(each).display)
    const labels = Array.from(page.querySelectorAll('.stack td'))
      .map(each => frame.getComputedStyle(each, '::before').content)
    return {scrolled, beyond, heads: shown('.layers .head'), labels, narrow: shown('.layers .narrow'),
            wide: page.documentElement.scrollWidth - frame.innerWidth, tables: page.querySelectorAll('table').length}
  }))
}
"""


def test_no_table_is_cut_and_every_number_has_a_heading(report, tmp_path):
    # As in a net of some size: long names, large counts, many files.
    layers = tuple(
        dataclasses.replace(
            row, layer=f"backbone/mobilenetv2_1.00_224/block_16_depthwise_{row.layer}", macs_before=10**9
        )
        for row in report.layers
    )
    more = [dataclasses.replace(report.files[1], name=f"small_int8_float_io_{number}") for number in range(4)]
    said = {
        "topic": "NPU",
        "verdict": "helps",
        "reason": "fewer weights, " * 9,
        "remedy": "a.function.of." * 9,
        "where": "",
    }
    advice = ({"file": "small.tflite", "advice": [said]},)
    whole = dataclasses.replace(report, layers=layers, files=(*report.files, *more), advice=advice)
    page = whole.write_html(tmp_path / "report.html").read_text().replace("<details>", "<details open>")
    frames = "".join(
        f'<iframe style="width: {width}px; height: 30000px; border: 0" srcdoc="{html.escape(page)}"></iframe>'
        for width in (1440, 390)
    )
    (tmp_path / "frames.html").write_text(f"{frames}<script>{CUT}</script>")
    dom = browse(tmp_path / "frames.html", tmp_path / "profile", "--dump-dom").stdout
    desk, phone = json.loads(html.unescape(re.search(r"<title>(.*?)</title>", dom).group(1)))
    for found in (desk, phone):
        assert found["tables"] > 8
        assert (found["scrolled"], found["beyond"], found["wide"]) == ([], [], 0)
    # Headings stand above the columns, or beside each number where there is no room for columns.
    assert (set(desk["heads"]), set(desk["narrow"]), set(desk["labels"])) == ({"block"}, {"none"}, {"none"})
    assert (set(phone["heads"]), set(phone["narrow"])) == ({"none"}, {"inline"})
    assert {'"bytes"', '"accuracy"', '"scale"', '"zero point"'} <= set(phone["labels"])
