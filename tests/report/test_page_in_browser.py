"""The pages in a real browser: nothing missing, nothing overflowing, and everything that can be clicked works."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import xarray as xr
from command_line import TINY

from l96closure import cli, compare, report
from l96closure.plot import style

pytestmark = pytest.mark.slow  # a browser opens every page

REQUIRED = "L96CLOSURE_REQUIRE_CHROMIUM"
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-dev-shm-usage",
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless Chromium that has no network."""
    programs = shutil.which("chromium"), shutil.which("chromedriver")
    try:
        from selenium import webdriver
    except ImportError:
        webdriver = None
    if webdriver is None or None in programs:
        reason = "needs Debian's chromium and chromium-driver, and selenium"
        if os.environ.get(REQUIRED) == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(programs[1]))
    driver.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with all there can be on one: a wide table, warnings, notes, figures, files."""
    folder = tmp_path_factory.mktemp("page")
    pictures = []
    for name in ("covariance", "densities"):
        figure, (axes,) = style.row(1)
        axes.plot([0, 1], [1, 0])
        figure.savefig(folder / f"{name}.png")
        pictures.append(style.Picture(name, folder / f"{name}.png", f"What to see in the {name}."))
    (folder / "coarse run.nc").write_bytes(bytes(2_500_000))
    scores = [("b", "0.30 ± 0.01"), ("a", "−2.0"), ("c", "1.2e-3"), ("d", "–"), ("e", "∞"), ("f", "0.0156 to 0.0228")]
    narrow = report.Table("Scores", ("run", "score"), tuple(report.Row(k, (v,), "its meaning") for k, v in scores), "")
    wide = report.Table(
        "Many columns",
        ("run", *(f"column {i}" for i in range(25))),
        tuple(report.Row(f"run {k}", tuple(f"{k + i}.0 (0.1 to 0.9)" for i in range(25))) for k in range(3)),
        "A note.",
    )
    report.write_page(
        folder / "page.html",
        title="A page with a_rather_long_name: the coarse model beside the truth",
        headline="The headline says in a sentence what came out of it all.",
        warnings=["A warning."],
        tables=[narrow, wide],
        notes=["A note."],
        figures=pictures,
        downloads={"coarse run.nc": "the coarse run"},
        origin=report.Origin(
            "model:\n  K: 12\n" + "long: " + "x" * 300 + "\n",
            {"command of simulate, fit, integrate, forecast, diagnose": "l96closure " + "override=1 " * 40 + "x" * 80},
        ),
    )
    return folder / "page.html"


def opened(browser: Any, page: Path, width: int = 1400, scheme: str = "light") -> Any:
    browser.get_log("browser")
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [
        {"name": "prefers-color-scheme", "value": scheme},
        {"name": "prefers-reduced-motion", "value": "reduce"},
    ]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(page.as_uri())
    browser.execute_script("try { localStorage.clear() } catch {}")
    browser.refresh()
    return browser


def column(browser: Any, table: int, place: int) -> list[str]:
    script = """
        const rows = [...document.querySelectorAll("table")[arguments[0]].tBodies[0].rows];
        return rows.map(row => row.children[arguments[1]].childNodes[0].textContent.trim());
    """
    return browser.execute_script(script, table, place)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The pages of a sweep as the two command lines write them: one of a run, one of all."""
    sweep = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(sweep)
        for number, closure in enumerate(("none", "polynomial")):
            run_here(cli.main, "l96closure", *TINY, f"closure={closure}", f"run_dir={sweep / str(number)}")
        run_here(compare.main, "l96closure-compare", str(sweep))
    return {"report": sweep / "1" / "report.html", "comparison": sweep / "comparison.html"}


def run_here(main: Callable[[], None], *words: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", list(words))
        main()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("name", ["report", "comparison"])
def test_the_pages_that_are_written_are_whole(
    browser: Any, written: dict[str, Path], name: str, width: int, scheme: str
) -> None:
    check_layout(opened(browser, written[name], width, scheme), width)


def test_every_file_a_written_page_offers_is_there(browser: Any, written: dict[str, Path]) -> None:
    for path in written.values():
        opened(browser, path)
        links = [link.get_dom_attribute("href") for link in browser.find_elements("css selector", "main a")]
        assert len(links) >= 3
        for link in links:
            assert (path.parent / unquote(link)).is_file(), link


def test_runs_sort_by_a_distance(browser: Any, written: dict[str, Path]) -> None:
    opened(browser, written["comparison"])
    with xr.open_dataset(written["comparison"].with_name("comparison.nc"), decode_times=False) as data:
        names = data["run"].sortby(data["hellinger_z"]).to_numpy().astype(str).tolist()
    browser.find_elements("css selector", "table:first-of-type thead button")[1].click()
    assert [name for name in column(browser, 0, 0) if name != "floor"] == names


def check_layout(browser: Any, width: int) -> None:
    assert [entry["message"] for entry in browser.get_log("browser")] == []
    sizes = browser.execute_script("return [...document.querySelectorAll('figure img')].map(i => i.naturalWidth)")
    assert len(sizes) >= 2
    assert min(sizes) > 100
    inner, outer = browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert inner <= outer == width


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
def test_nothing_is_missing_and_nothing_overflows(browser: Any, page: Path, width: int, scheme: str) -> None:
    check_layout(opened(browser, page, width, scheme), width)
    scrolls = browser.execute_script(
        "return [...document.querySelectorAll('.scroll')].map(box => box.scrollWidth > box.clientWidth)"
    )
    assert scrolls[1]  # the wide table scrolls in its box


@pytest.mark.parametrize("name", ["report", "comparison"])
def test_the_contents_of_a_wide_page_are_all_in_sight(browser: Any, written: dict[str, Path], name: str) -> None:
    opened(browser, written[name], 1400)
    wide, room = browser.execute_script(
        "const list = document.querySelector('nav ul'); return [list.scrollWidth, list.clientWidth]"
    )
    assert wide <= room


def test_nothing_is_cut_off_on_paper_and_it_is_light(browser: Any, page: Path, written: dict[str, Path]) -> None:
    """A4 less margins; screens that are dark print dark on light all the same."""
    for path in (page, *written.values()):
        opened(browser, path, 688, "dark")
        scheme = [{"name": "prefers-color-scheme", "value": "dark"}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": scheme})
        cut = browser.execute_script(
            "return [...document.querySelectorAll('.scroll, pre')].map(box => box.scrollWidth - box.clientWidth)"
        )
        assert max(cut) <= 1, path
        kept = browser.execute_script("return getComputedStyle(document.querySelector('.scroll')).breakInside")
        assert kept == "avoid"  # no table is torn between two sheets that has room on one
        assert luminance(browser.execute_script("return getComputedStyle(document.body).color")) < 0.1
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


def test_settings_are_unfolded_on_paper_alone(browser: Any, page: Path) -> None:
    opened(browser, page)
    script = """
        window.states = [];
        addEventListener("beforeprint", () => states.push(document.querySelector("details").open));
    """
    browser.execute_script(script)
    browser.execute_cdp_cmd("Page.printToPDF", {})
    assert browser.execute_script("return states.concat(document.querySelector('details').open)") == [True, False]


def luminance(color: str) -> float:
    parts = [float(part) / 255 for part in color[color.index("(") + 1 : -1].split(",")[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_the_paper(browser: Any, page: Path, scheme: str) -> None:
    opened(browser, page, 1400, scheme)
    paper = luminance(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))
    assert (paper < 0.5) == (scheme == "dark")
    for selector in ("body", ".small", "thead th", "figcaption", "nav a", "main a", "small"):
        script = "return getComputedStyle(document.querySelector(arguments[0])).color"
        text = luminance(browser.execute_script(script, selector))
        assert (max(text, paper) + 0.05) / (min(text, paper) + 0.05) >= 4.5, selector


def test_tables_sort_by_their_numbers_both_ways(browser: Any, page: Path) -> None:
    opened(browser, page)
    first, second = browser.find_elements("css selector", "table:first-of-type thead button")[:2]
    second.click()
    assert column(browser, 0, 0) == ["a", "c", "f", "b", "e", "d"]
    assert second.find_element("xpath", "..").get_attribute("aria-sort") == "ascending"
    second.send_keys("\ue007")  # the enter key
    assert column(browser, 0, 0) == ["d", "e", "b", "f", "c", "a"]
    first.click()
    assert column(browser, 0, 0) == list("abcdef")
    assert second.find_element("xpath", "..").get_attribute("aria-sort") is None


def test_figures_enlarge_and_close_by_keyboard(browser: Any, page: Path) -> None:
    opened(browser, page)
    button = browser.find_elements("css selector", ".enlarge")[1]
    button.send_keys("\ue007")
    dialog = browser.find_element("id", "enlarged")
    assert dialog.is_displayed()
    shown = dialog.find_element("tag name", "img")
    assert shown.get_attribute("alt") == "What to see in the densities."
    assert browser.execute_script("return arguments[0].naturalWidth", shown) > 100
    browser.switch_to.active_element.send_keys("\ue00c")  # the escape key
    assert not dialog.is_displayed()
    assert browser.switch_to.active_element == button


def test_an_enlarged_figure_scrolls_on_a_small_screen(browser: Any, page: Path) -> None:
    opened(browser, page, 400)
    browser.find_element("css selector", ".enlarge").click()
    image, natural, room = browser.execute_script(
        "const dialog = document.getElementById('enlarged'), shown = dialog.querySelector('img');"
        "return [shown.clientWidth, shown.naturalWidth, dialog.scrollWidth - dialog.clientWidth]"
    )
    assert image >= natural / 2
    assert room > 0


def test_the_theme_is_chosen_and_kept(browser: Any, page: Path) -> None:
    opened(browser, page)
    paper = "return getComputedStyle(document.body).backgroundColor"
    from selenium.webdriver.support.ui import WebDriverWait

    light = browser.execute_script(paper)
    button = browser.find_element("id", "theme")
    assert button.text == "Dark"
    button.click()
    dark = browser.execute_script(paper)
    assert luminance(dark) < luminance(light)

    def is_dark(browser: Any) -> bool:
        browser.refresh()
        return bool(browser.execute_script(paper) == dark)

    WebDriverWait(browser, 60).until(is_dark)  # a busy browser may keep what it was told a little later
    browser.find_element("id", "theme").click()
    assert browser.execute_script(paper) == light


def test_every_link_leads_somewhere(browser: Any, page: Path) -> None:
    opened(browser, page)
    anchors = browser.execute_script("return [...document.querySelectorAll('nav li a')].map(a => a.hash.slice(1))")
    assert anchors == ["scores", "many-columns", "notes", "figures", "files", "settings", "origin"]
    for anchor in anchors:
        assert len(browser.find_elements("id", anchor)) == 1
    (link,) = browser.find_elements("css selector", "main a")
    assert (page.parent / link.get_dom_attribute("href").replace("%20", " ")).is_file()
    assert "(2.5 MB)" in link.find_element("xpath", "..").text
    levels = browser.execute_script("return [...document.querySelectorAll('h1, h2, h3')].map(h => h.tagName)")
    assert levels == ["H1", *["H2"] * len(anchors)]


def test_the_contents_show_where_the_reader_is(browser: Any, page: Path) -> None:
    opened(browser, page)
    browser.execute_script("document.getElementById('figures').scrollIntoView()")
    browser.implicitly_wait(300)  # it ends when the element is there
    current = browser.find_element("css selector", "nav a[aria-current='true'][href='#figures']")
    browser.implicitly_wait(0)
    assert current.text == "Figures"
