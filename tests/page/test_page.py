"""The page in a real browser, against a plant that is not there (`fake_plant`): what a person sees and may do."""

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from page.fake_plant import HOUR_S, KEY, TOKEN, FakePlant, Sensor, alarm, condition, kinesis_shards

CHROMIUM = Path("/usr/bin/chromium")
ROOT = Path(__file__).parents[2]
HOT = "lyon/stamping/line-3/press-7/bearing-temperature"
SILENT = "lyon/stamping/line-3/press-8/motor-current"
IMAGE_BYTES_MAX = 300_000

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="chromium is not installed (apt install chromium)"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        yield (chromium := playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]))
        chromium.close()


@pytest.fixture
def plant() -> Iterator[FakePlant]:
    with FakePlant() as plant:
        yield plant


class Visit:
    """A browser of someone's own. Leaving it asserts that nothing was complained of and nothing asked of elsewhere."""

    def __init__(self, browser: Browser, plant: FakePlant, width: int = 1440, height: int = 900, **given: Any) -> None:
        self.plant = plant
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        self.context = browser.new_context(viewport={"width": width, "height": height}, **given)
        self.page = self.context.new_page()
        self.page.on(
            "console", lambda said: self.complaints.append(said.text) if said.type in ("error", "warning") else None
        )
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on(
            "request", lambda asked: self.elsewhere.append(asked.url) if not asked.url.startswith(plant.url) else None
        )

    def __enter__(self) -> Page:
        self.page.goto(f"{self.plant.url}/#login={TOKEN}")
        expect(self.page.locator("body[data-stage=ready]")).to_be_attached()
        return self.page

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.context.close()
        if kind is None:
            assert self.complaints == []
            assert self.elsewhere == []


def keep(page: Page, name: str) -> None:
    """A screenshot for CI's artifacts, and for the documents when they are to be made anew."""
    folders = [ROOT / "artifacts", *([ROOT / "docs/images"] if os.environ.get("PENSTOCK_SCREENSHOTS") == "1" else [])]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=folder / f"{name}.png")
        assert (folder / f"{name}.png").stat().st_size < IMAGE_BYTES_MAX


COLOURS = """c => new Set(new Uint32Array(
    c.getContext("2d").getImageData(0, 0, c.width, c.height).data.buffer)).size"""


def inked(canvas: Locator) -> int:
    """Distinct colours on a canvas: 1 when it is empty."""
    return int(canvas.evaluate(COLOURS))


def until_drawn(page: Page, tag: str) -> Locator:
    canvas = page.locator(f"#trends canvas[data-tag='{tag}']")
    until(lambda: canvas.count() == 1 and inked(canvas) > 20, page)
    return canvas


def until(holds: Callable[[], bool], page: Page, tries: int = 300) -> None:
    for _ in range(tries):
        if holds():
            return
        page.wait_for_timeout(50)
    raise AssertionError("it never came to hold")


def test_a_link_signs_in_leaves_the_address_and_tags_appear(browser: Browser, plant: FakePlant) -> None:
    with Visit(browser, plant) as page:
        expect(page.locator("#tree")).to_contain_text("press-7", timeout=10_000)
        expect(page.locator("#plant")).to_have_text("Lyon works")
        expect(page.locator("#who")).to_have_text("shift-a")
        expect(page.locator("#link")).to_contain_text("Live")
        assert TOKEN not in page.url
        assert plant.asked[0] == ("/v1/login", {"token": TOKEN})


def test_a_used_link_and_a_wrong_key_are_told_in_words_and_a_key_signs_in(browser: Browser, plant: FakePlant) -> None:
    page = browser.new_page()
    page.goto(f"{plant.url}/#login=used-before")
    expect(page.get_by_role("alert")).to_contain_text("used already")
    page.get_by_label("API key").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("does not know this key")
    page.get_by_label("API key").fill(KEY)
    page.keyboard.press("Enter")
    expect(page.locator("#tree")).to_contain_text("press-7")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API key")).to_be_visible()
    page.close()


def test_each_value_shows_its_number_unit_band_and_course(browser: Browser, plant: FakePlant) -> None:
    with Visit(browser, plant) as page:
        page.locator("#tree .node[data-path='lyon/stamping/line-3/press-7']").click()
        row = page.locator(f".row[data-tag='{HOT}']")
        expect(row.locator(".figure")).to_contain_text("°C")
        expect(row.locator(".gauge")).to_have_attribute("aria-label", re.compile("usually .* high limit 70"))
        expect(row.locator(".gauge .pointer")).to_have_class("pointer high")
        until(lambda: row.locator("canvas").evaluate("c => c.width") > 20 and inked(row.locator("canvas")) > 5, page)


def test_a_chosen_tag_is_drawn_and_its_anomaly_explains_itself(browser: Browser, plant: FakePlant) -> None:
    with Visit(browser, plant) as page:
        page.locator("#tree .node[data-path='lyon/coolant/tank-1']").click()
        tag = "lyon/coolant/tank-1/flow"
        page.get_by_role("button", name=f"Trend of {tag}").click()
        until_drawn(page, tag)
        box = until_drawn(page, HOT).bounding_box()
        page.mouse.move(box["x"] + box["width"] - 80, box["y"] + 40)
        expect(page.locator(".tip")).to_contain_text("above the high limit of 70")
        keep(page, "page-trends")


def test_the_chart_goes_on_live_and_a_range_asks_the_plant_again(browser: Browser, plant: FakePlant) -> None:
    with Visit(browser, plant) as page:
        canvas = until_drawn(page, HOT)
        before = canvas.screenshot()
        page.wait_for_timeout(1_500)
        assert canvas.screenshot() != before
        with page.expect_request(lambda asked: "/v1/series" in asked.url and "points=600" in asked.url):
            page.get_by_role("button", name="7 d").click()


OF_LONG_AGO = """async ([tag, from, to]) => {
    const [{ series }, { runsOf, valueAt }] = [await import("/assets/api.js"), await import("/assets/chart.js")];
    const lane = { series: await series(tag, from, to, 600), gapMs: 60000 };
    const seen = [0.01, 0.3, 0.49, 0.51, 0.99].map((part) => valueAt(lane, from + (to - from) * part)?.last != null);
    return { points: lane.series.t.length, runs: runsOf(lane).length, seen: seen.every(Boolean) };
}"""


def test_what_is_there_by_the_hour_only_is_drawn_without_gaps(browser: Browser, plant: FakePlant) -> None:
    """However long the pause that is a gap in single readings: within an hour, over hours, and on to minutes."""
    plant.minutes_begin = floor = time.time() // HOUR_S * HOUR_S - 48 * HOUR_S
    with Visit(browser, plant) as page:
        for start, hours, points in ((floor - 2_400, 1 / 6, 1), (floor - 3 * HOUR_S, 3, 3), (floor - HOUR_S, 2, 301)):
            told = page.evaluate(OF_LONG_AGO, [HOT, start * 1000, (start + hours * HOUR_S) * 1000])
            assert told == {"points": points, "runs": 1, "seen": True}


def test_a_chart_by_the_hour_is_drawn(browser: Browser, plant: FakePlant) -> None:
    plant.minutes_begin = time.time() + HOUR_S
    with Visit(browser, plant) as page:
        lane = page.locator("#trends .lane").filter(has=page.locator(f"canvas[data-tag='{HOT}']"))
        box = lane.locator("canvas").bounding_box()
        for part in (0.2, 0.5, 0.8):
            page.mouse.move(box["x"] + box["width"] * part, box["y"] + 40)
            expect(lane.locator(".head b")).to_have_text(re.compile(r"\d °C"))
        keep(page, "page-by-the-hour")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")])
def test_a_chart_shows_from_when_single_readings_are_here(
    browser: Browser, plant: FakePlant, width: int, scheme: Any
) -> None:
    plant.archived_before = time.time() - 30 * 60
    with Visit(browser, plant, width=width, height=844, color_scheme=scheme) as page:
        if width <= 720:
            page.locator("#views [data-to=trends]").click()
        canvas, note = until_drawn(page, HOT), page.locator("#trends .archived")
        expect(note).to_contain_text(
            re.compile(r"^Before .+ only rollups are here; .+ archive: s3://lyon-penstock-arch")
        )
        expect(page.locator(".plots")).to_have_accessible_description(re.compile("in the archive"))
        expect(canvas).to_have_attribute("aria-label", re.compile("only rollups before"))
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.wait_for_timeout(500)
        keep(page, f"page-archived-{width}-{scheme}")
        page.locator(".plots").focus()
        page.keyboard.press("Shift+ArrowLeft")
        expect(page.locator(".plots [role=status]")).not_to_contain_text("from rollups")
        for _ in range(6):
            page.keyboard.press("Shift+ArrowLeft")
        expect(page.locator(".plots [role=status]")).to_contain_text("from rollups")
        plant.expired_before = time.time() - 50 * 60
        page.get_by_role("button", name="1 h", exact=True).click()
        expect(note).to_contain_text("may have expired")
        page.get_by_role("button", name="5 min").click()
        expect(note).to_be_hidden()
        expect(canvas).not_to_have_attribute("aria-label", re.compile("rollups"))


def test_an_alarm_arrives_live_and_is_acknowledged_with_its_note(browser: Browser, plant: FakePlant) -> None:
    with Visit(browser, plant) as page:
        expect(page.locator("#link")).to_contain_text("Live")
        expect(page.locator("#counts [data-priority=critical]")).to_contain_text("0")
        plant.raise_alarm(alarm(99, HOT, test="limit_hh", priority="critical", because="78.3 °C is above 78 °C."))
        item = page.locator("[data-alarm='99']")
        expect(item).to_contain_text("78.3 °C is above 78 °C.")
        expect(page.locator(".alarm").first).to_have_attribute("data-alarm", "99")
        item.get_by_role("button", name="Acknowledge").click()
        page.get_by_label("Note").fill("Fan was off; restarted")
        page.get_by_role("dialog").get_by_role("button", name="Acknowledge").click()
        expect(item).to_contain_text("Acknowledged by shift-a")
        assert plant.asked[-1] == ("/v1/alarms/99/ack", {"note": "Fan was off; restarted"})


def test_what_is_pressed_while_an_alarm_arrives_is_still_clicked(browser: Browser, plant: FakePlant) -> None:
    with Visit(browser, plant) as page:
        expect(page.locator("#link")).to_contain_text("Live")
        page.locator("[data-alarm='2']").get_by_role("button", name="Shelve").hover()
        page.mouse.down()
        plant.raise_alarm(alarm(99, HOT, test="limit_hh", priority="low", because="78.3 °C is above 78 °C."))
        page.wait_for_timeout(500)
        page.mouse.up()
        expect(page.get_by_label("Reason")).to_be_visible()
        expect(page.locator("[data-alarm='99']")).to_be_attached()


def test_an_alarm_is_shelved_with_a_reason_and_comes_back(browser: Browser, plant: FakePlant) -> None:
    with Visit(browser, plant) as page:
        page.locator("[data-alarm='2']").get_by_role("button", name="Shelve").click()
        page.get_by_label("Reason").fill("Sensor out for calibration")
        page.get_by_role("dialog").get_by_role("button", name="Shelve").click()
        expect(page.locator("[data-alarm='2']")).to_have_count(0)
        path, body = plant.asked[-1]
        assert (path, body["reason"]) == ("/v1/alarms/2/shelve", "Sensor out for calibration")
        page.get_by_role("button", name="Shelved").click()
        page.locator("[data-alarm='2']").get_by_role("button", name="Unshelve").click()
        expect(page.locator("[data-alarm='2']")).to_have_count(0)
        assert plant.asked[-1][0] == "/v1/alarms/2/unshelve"


def test_a_silent_value_is_visibly_stale_and_nothing_makes_it_younger(browser: Browser, plant: FakePlant) -> None:
    with Visit(browser, plant) as page:
        page.locator("#tree .node[data-path='lyon/stamping/line-3/press-8']").click()
        row = page.locator(f".row[data-tag='{SILENT}']")
        expect(row).to_have_class(re.compile("stale"))
        expect(row.locator(".age")).to_have_text("stale 22 min")
        expect(page.locator(".row[data-tag$='press-8/vibration'] .quality")).to_have_text("uncertain")


def test_a_stream_that_falls_silent_makes_every_value_stale(browser: Browser, plant: FakePlant) -> None:
    with Visit(browser, plant) as page:
        page.locator("#tree .node[data-path='lyon/coolant/tank-1']").click()
        expect(page.locator(".row .figure").first).to_contain_text("L/min")
        plant.frozen = True
        page.evaluate("const late = Date.now; Date.now = () => late() + 60000")
        expect(page.locator(".row.stale")).to_have_count(page.locator(".row").count())


def test_the_balance_leaves_nothing_over_and_says_so_when_it_does(browser: Browser, plant: FakePlant) -> None:
    with Visit(browser, plant) as page:
        expect(page.locator("#unaccounted")).to_have_text("0")
        expect(page.locator(".verdict")).to_contain_text("Every reading received is accounted for")
        plant.unaccounted = 7
        expect(page.locator("#unaccounted")).to_have_text("7")
        expect(page.locator(".verdict")).to_contain_text("penstock doctor")


def test_what_fails_is_told_with_what_to_do(browser: Browser, plant: FakePlant) -> None:
    with Visit(browser, plant) as page:
        plant.failing = {"worker": "nobody stores what is in flight"}
        expect(page.locator(".failing")).to_contain_text("worker: nobody stores what is in flight")
        plant.failing = {}
        expect(page.locator(".failing")).to_be_hidden()


RUNNING_OUT = condition(
    "retention_running_out", "critical", shard="shardId-000000000003", why="What it takes next came 19 h ago.",
    mend="Start more workers (`penstock work`).",
)  # fmt: skip
STUCK = [
    condition("shard_stuck", shard=f"shardId-{n:012}", why="Its worker gets nothing done.", mend="Start it anew.")
    for n in (3, 5, 8, 9)
]


def test_a_plant_that_is_well_shows_its_shards_and_no_band(browser: Browser, plant: FakePlant) -> None:
    with Visit(browser, plant) as page:
        expect(page.locator("[data-shard=bulk]")).to_have_text(re.compile("bulk *gateway-7.+3"))
        expect(page.locator("#conditions")).to_be_hidden()
        expect(page.locator("#conditions-alert")).to_be_empty()


def test_what_ails_the_pipeline_is_told_with_its_mend_until_it_is_mended(browser: Browser, plant: FakePlant) -> None:
    plant.conditions = [RUNNING_OUT, *STUCK]
    with Visit(browser, plant) as page:
        worst, other = page.locator(".condition.critical"), page.locator(".condition.high")
        expect(worst.locator("summary")).to_contain_text("Retention running out")
        expect(worst.get_by_role("img", name="critical")).to_be_visible()
        expect(worst.locator(".words")).to_contain_text("What to do: Start more workers (penstock work)")
        expect(other.locator("summary")).to_contain_text("shard 3, shard 5, shard 8 and 1 more")
        expect(other.locator(".words")).to_be_hidden()
        other.locator("summary").focus()
        page.keyboard.press("Enter")
        expect(other.locator(".words")).to_contain_text("Start it anew.")
        expect(page.locator("#conditions-alert")).to_have_text(
            "Critical: Retention running out, shard 3. What it takes next came 19 h ago."
        )
        expect(page.locator("#conditions-status")).to_contain_text("High: Shard stuck")
        plant.conditions = STUCK
        expect(page.locator(".condition")).to_have_count(1, timeout=10_000)
        expect(other.locator(".words"), "what was opened stays open").to_be_visible()
        expect(page.locator("#conditions-alert")).to_be_empty()
        plant.conditions = []
        expect(page.locator("#conditions")).to_be_hidden(timeout=10_000)


def test_many_shards_are_folded_and_the_troubled_come_first(browser: Browser, plant: FakePlant) -> None:
    plant.shards, plant.conditions = kinesis_shards(40), [RUNNING_OUT, *STUCK]
    plant.shards[3] |= {"lag": 184_000, "behind_s": 68_400.0}
    plant.shards[9] |= {"held": False}
    with Visit(browser, plant) as page:
        rows = page.locator("[data-shard]")
        expect(rows).to_have_count(24)
        expect(rows.first).to_contain_text("shard 3ip-10-0-0-17184k · 19 h")
        expect(rows.first.get_by_role("img", name="critical: Retention running out")).to_be_visible()
        expect(page.locator("[data-shard='shardId-000000000009']")).to_contain_text("nobody")
        page.get_by_role("button", name="Show all 40 shards").click()
        expect(rows).to_have_count(40)


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (390, "dark"), (900, "light"), (1440, "dark")])
def test_the_band_leaves_room_for_the_values(browser: Browser, plant: FakePlant, width: int, scheme: str) -> None:
    plant.shards, plant.conditions = kinesis_shards(12), [RUNNING_OUT, *STUCK]
    with Visit(browser, plant, width=width, height=844, color_scheme=scheme) as page:
        expect(page.locator(".row .figure").first).to_contain_text("L/min")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("#conditions").bounding_box()["height"] < 200
        page.wait_for_timeout(500)
        keep(page, f"page-conditions-{width}")


def test_the_quarantine_is_listed_with_its_reasons_and_redriven(browser: Browser, plant: FakePlant) -> None:
    with Visit(browser, plant) as page:
        page.get_by_role("button", name="See the quarantine").click()
        expect(page.locator(".held")).to_contain_text("the tag holds `mm/s`")
        page.get_by_role("button", name="Redrive").first.click()
        expect(page.locator("#notices")).to_contain_text("Sent again")
        assert plant.asked[-1][0] == "/v1/quarantine/1/redrive"


def test_light_and_dark_follow_the_device_and_the_button(browser: Browser, plant: FakePlant) -> None:
    for scheme in ("light", "dark"):
        with Visit(browser, plant, height=1060, color_scheme=scheme) as page:
            assert page.evaluate("document.documentElement.dataset.theme") == scheme
            page.locator("#tree .node[data-path='lyon/stamping/line-3']").click()
            until_drawn(page, HOT)
            page.wait_for_timeout(700)
            keep(page, f"page-{scheme}")
    with Visit(browser, plant, color_scheme="light") as page:
        page.get_by_role("button", name="Dark theme").click()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(16, 20, 23)"


@pytest.mark.parametrize("width", [360, 390, 768, 1024, 1920])
def test_nothing_is_wider_than_the_screen(browser: Browser, plant: FakePlant, width: int) -> None:
    with Visit(browser, plant, width=width, height=844) as page:
        for view in ("assets", "overview", "trends", "alarms", "health") if width <= 720 else ("",):
            if view:
                page.locator(f"#views [data-to={view}]").click()
            page.wait_for_timeout(150)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        if width == 390:
            page.locator("#views [data-to=overview]").click()
            expect(page.locator(".row .figure").first).to_contain_text("L/min")
            page.wait_for_timeout(500)
            keep(page, "page-phone")


def test_everything_is_reached_by_keyboard(browser: Browser, plant: FakePlant) -> None:
    with Visit(browser, plant) as page:
        page.keyboard.press("/")
        page.keyboard.type("tank-2 level")
        expect(page.locator("#tree .node")).to_have_count(1)
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        until_drawn(page, "lyon/coolant/tank-2/level")
        page.locator(".plots").focus()
        page.keyboard.press("ArrowLeft")
        expect(page.locator(".plots [role=status]")).to_contain_text("level")
        unnamed = page.evaluate(
            "[...document.querySelectorAll('button, input, select')].filter(e => e.checkVisibility() "
            "&& !(e.textContent.trim() || e.ariaLabel || e.labels?.length)).map(e => e.outerHTML)"
        )
        assert unnamed == []


def test_without_a_reading_the_page_teaches_the_first_one(browser: Browser) -> None:
    with FakePlant(sensors=[], alarms=[]) as plant, Visit(browser, plant) as page:
        expect(page.locator("#overview pre")).to_contain_text("/v1/readings")
        plant.sensors["site/pump/pressure"] = Sensor("site/pump/pressure", "bar", 4, 1, 60)
        expect(page.locator("#tree")).to_contain_text("pump", timeout=10_000)
        expect(page.locator(".row .figure")).to_contain_text("bar")


def test_ten_thousand_tags_cost_no_more_than_what_is_on_screen(browser: Browser) -> None:
    tags = [Sensor(f"site/hall-{n // 500}/cell-{n // 10}/t{n}", "Cel", 20, 1, 60) for n in range(10_000)]
    with FakePlant(sensors=tags, alarms=[]) as plant, Visit(browser, plant) as page:
        expect(page.locator("#tree-foot")).to_contain_text("10,000 tags", timeout=10_000)
        expect(page.locator(".row .figure").first).to_contain_text("°C")
        assert page.locator(".row").count() < 40
        assert page.locator(".node").count() < 60
        page.locator(".values").evaluate("box => box.scrollTop = 300000")
        expect(page.locator(".row .figure").first).to_contain_text("°C")
