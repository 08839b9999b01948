"""What a person does, from the first start to a dead session, in dark and light at three widths."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect

pytestmark = pytest.mark.slow

OWN = "seven quiet otters paddle upstream"
WIDTHS = {360: 780, 1280: 800, 2560: 1600}
"""Width and height of the window, CSS pixels."""
PATIENCE = 180_000
"""Milliseconds; the machine may be busy."""

DROP = """([zone, files]) => {
  const data = new DataTransfer();
  for (const [name, content] of files) {
    const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
    data.items.add(new File([bytes], name));
  }
  for (const kind of ["dragenter", "dragover", "drop"]) {
    zone.dispatchEvent(new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: data }));
  }
}"""

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


class Looker:
    """Holds each page against the rules for all: accessible, no wider than the window, no error in the console."""

    def __init__(self, page: Page, pictures: Callable[[Any, str], None], name: str) -> None:
        self.page, self.pictures, self.name = page, pictures, name
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._console)

    def _console(self, message: Any) -> None:
        # That a page or a picture was refused, as the story wants it, is told there too.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.errors.append(message.text)

    def look(self, what: str) -> None:
        self.page.wait_for_load_state("load")
        self.pictures(self.page, f"{what}-{self.name}")
        found = Axe().run(self.page, options={"runOnly": {"type": "tag", "values": TAGS}}).response["violations"]
        told = [(one["id"], [node["target"] for node in one["nodes"]]) for one in found]
        assert told == [], f"{what}: {told}"
        wide = self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert wide <= 0, f"{what} is {wide} pixels wider than the window"
        assert self.errors == [], what


def first_password(served: Any, name: str) -> str:
    """Give the password that somebody's first sign-in is made with."""
    if name == "admin":
        return str(served.password)
    said = served.command("users", "add", name, "--role", "administrator")
    found = re.search(r"[Pp]assword:?\s+(\S+)", said)
    assert found is not None, said
    return found[1]


def sign_in(page: Page, name: str, password: str) -> None:
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Password", exact=True).fill(password)
    page.locator("form button.button-primary").click()


def choose_password(page: Page, old: str) -> None:
    page.locator("#old").fill(old)
    page.locator("#new").fill(OWN)
    page.locator("#again").fill(OWN)
    page.locator("form button.button-primary").click()


def drawn_pictures(page: Page) -> list[str]:
    return list(page.locator(".cell-canvas").evaluate_all("all => all.map((canvas) => canvas.toDataURL())"))


def settle(page: Page) -> None:
    """Wait until nothing more is drawn: all tiles have come."""
    before: list[str] = []
    for _ in range(60):
        page.wait_for_timeout(700)
        if before == (before := drawn_pictures(page)):
            return
    raise AssertionError("the pictures never came to rest")


def note(page: Page) -> str:
    return page.locator(".cell [data-note]").first.text_content() or ""


def saved(page: Page, click: Callable[[], None]) -> bytes:
    with page.expect_download(timeout=PATIENCE) as waiting:
        click()
    return Path(waiting.value.path()).read_bytes()


def through_the_menu(page: Page) -> None:
    page.locator(".bar-tools details.menu > summary").click()


@pytest.fixture
def context(chromium: Browser, served: Any, request: pytest.FixtureRequest) -> Any:
    theme, width = request.param
    made = chromium.new_context(
        base_url=served.address,
        viewport={"width": width, "height": WIDTHS[width]},
        locale="en-GB",
        accept_downloads=True,
        reduced_motion="reduce",
    )
    made.set_default_timeout(60_000)
    made.add_cookies([{"name": "mammolens_theme", "value": theme, "url": served.address}])
    yield made
    made.close()


COMBINATIONS = [(theme, width) for theme in ("dark", "light") for width in (1280, 360, 2560)]


@pytest.mark.parametrize(
    "context", COMBINATIONS, indirect=True, ids=[f"{theme}-{width}" for theme, width in COMBINATIONS]
)
def test_what_a_person_does(
    context: BrowserContext,
    served: Any,
    dropped: dict[str, bytes],
    pictures: Callable[[Any, str], None],
    request: pytest.FixtureRequest,
) -> None:
    look_name = request.node.callspec.id
    theme = look_name.partition("-")[0]
    who = "admin" if look_name == "dark-1280" else look_name
    page = context.new_page()
    looker = Looker(page, pictures, look_name)

    enter(page, looker, who, first_password(served, who))
    assert page.locator("body").get_attribute("data-theme") == theme
    if who == "admin":
        expect(page.get_by_text("No cases yet")).to_be_visible()
    looker.look("worklist-empty" if who == "admin" else "worklist-before")

    drop_and_wait(page, dropped, looker)
    case = open_the_case(page, looker)
    window_and_zoom(page, looker)
    toggle_the_map(page)
    read_a_region(page)
    assess(page)
    looker.look("case-assessed")
    take_away(page)
    other_pages(page, looker, case)
    switch_model(page, looker)
    sign_out_and_find_the_session_dead(page, context, case, looker)
    said = served.log.read_text(encoding="utf-8")
    assert "Traceback" not in said
    assert "incident" not in said


def enter(page: Page, looker: Looker, who: str, password: str) -> None:
    """Sign in for the first time and choose a password."""
    page.goto("/sign-in")
    looker.look("sign-in")
    sign_in(page, who, "not the password at all")
    expect(page.locator("#sign-in-message")).to_be_visible()
    sign_in(page, who, password)
    expect(page.locator("#old")).to_be_visible()
    looker.look("password")
    choose_password(page, password)
    if not page.url.rstrip("/").endswith(page.evaluate("location.host")):
        page.goto("/")
    expect(page.get_by_role("heading", name="Worklist")).to_be_visible()


def drop_and_wait(page: Page, dropped: dict[str, bytes], looker: Looker) -> None:
    """Drop the examination with a broken file and a photograph among it, and watch it arrive."""
    files = [[name, base64.b64encode(content).decode()] for name, content in dropped.items()]
    page.locator("#drop-zone").evaluate("(zone, files) => (" + DROP + ")([zone, files])", files)
    words = page.locator(".batch .batch-words").first
    expect(words).to_contain_text("6 files")
    expect(page.locator(".batch").first).to_have_class(re.compile("batch-done"), timeout=PATIENCE)
    expect(words).to_contain_text("4 answered")
    expect(words).to_contain_text("2 refused")
    files_shown = page.locator(".batch").first
    if not files_shown.evaluate("batch => batch.open"):
        files_shown.locator("summary").click()
    for name in ("broken.dcm", "holiday.jpg"):
        row = page.locator(".batch-file", has_text=name)
        expect(row.locator(".file-reason")).to_be_visible()
        assert len(row.locator(".file-reason").inner_text()) > 15, name
    looker.look("upload")
    page.reload()
    expect(page.locator("tr[data-case]").first).to_be_visible()
    looker.look("worklist")


def open_the_case(page: Page, looker: Looker) -> str:
    """Open the case of four views; all of them are drawn."""
    row = page.locator("tr[data-case]", has=page.locator(".thumb:nth-child(4)")).first
    row.locator("a").first.click()
    expect(page.locator(".cell.is-open")).to_have_count(4, timeout=PATIENCE)
    expect(page.locator(".score-number")).to_have_text(re.compile(r"^0\.\d\d$"))
    settle(page)
    looker.look("case")
    return page.url


def window_and_zoom(page: Page, looker: Looker) -> None:
    """Move window and level by the mouse, zoom by a key, and see both on the picture."""
    canvas = page.locator(".cell-canvas").first
    canvas.scroll_into_view_if_needed()
    canvas.focus()
    box = canvas.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.click(x, y)
    page.wait_for_timeout(300)
    before, drawn = note(page), drawn_pictures(page)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 40, y + 30, steps=4)
    page.mouse.up()
    page.wait_for_timeout(300)
    windowed = note(page)
    assert re.search(r"level \S+, width \S+", windowed), windowed
    assert windowed != before
    assert drawn_pictures(page) != drawn
    percent = int(re.search(r"(\d+) %", windowed)[1])  # type: ignore[index]
    canvas.focus()
    page.keyboard.press("+")
    page.keyboard.press("+")
    page.wait_for_timeout(300)
    assert int(re.search(r"(\d+) %", note(page))[1]) > percent  # type: ignore[index]
    page.keyboard.press("0")
    page.keyboard.press("?")
    expect(page.locator("dialog#keys")).to_be_visible()
    looker.look("keyboard")
    page.keyboard.press("Escape")
    expect(page.locator("dialog#keys")).not_to_be_visible()


def toggle_the_map(page: Page) -> None:
    """Switch the map off by its key: the picture changes, and a reload remembers it."""
    shown = page.locator('[data-switch="map"]')
    expect(shown).to_have_attribute("aria-pressed", "true")
    page.wait_for_timeout(500)
    with_map = drawn_pictures(page)
    with page.expect_response(lambda response: response.url.endswith("/preferences/viewer")):
        page.keyboard.press("h")
    expect(shown).to_have_attribute("aria-pressed", "false")
    page.wait_for_timeout(300)
    assert drawn_pictures(page) != with_map
    page.reload()
    expect(page.locator(".cell.is-open")).to_have_count(4, timeout=PATIENCE)
    expect(shown).to_have_attribute("aria-pressed", "false")
    page.locator(".cell-canvas").first.focus()
    with page.expect_response(lambda response: response.url.endswith("/preferences/viewer")):
        page.keyboard.press("h")
    expect(shown).to_have_attribute("aria-pressed", "true")


def read_a_region(page: Page) -> None:
    """Choose the first region in the list; it is marked, and it has its share."""
    region = page.locator("[data-region]").first
    expect(region).to_be_visible()
    assert re.search(r"[01]\.\d\d", region.inner_text())
    region.click()
    expect(region).to_have_attribute("aria-pressed", "true")


def assess(page: Page) -> None:
    """Write what the reader finds; it is in force and in the history afterwards."""
    form = page.locator("#assessment-form")
    side = form.locator('fieldset[data-side="L"]')
    side.locator("label", has=page.locator('input[value="4"]')).first.click()
    side.locator("summary").click()
    side.locator('input[name="agrees-L"][value="yes"]').check()
    side.locator("textarea").fill("Spiculated mass, upper outer quadrant.")
    form.locator("button.button-primary").click()
    expect(page.locator(".in-force")).to_contain_text("BI-RADS 4")
    page.locator("details.past summary").click()
    expect(page.locator(".past-list")).to_contain_text("Spiculated mass")


def take_away(page: Page) -> None:
    """Download the report and the pictures; each is what it says."""
    pdf = saved(page, page.get_by_role("link", name="Report, PDF").click)
    assert pdf.startswith(b"%PDF-")
    assert len(pdf) > 20_000
    page.locator("details.files > summary").click()
    row = page.locator("details.files tr").first
    png = saved(page, row.get_by_role("link", name="PNG", exact=True).click)
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert int.from_bytes(png[20:24], "big") == 1400
    overlay = saved(page, row.get_by_role("link", name="with map").click)
    assert overlay.startswith(b"\x89PNG\r\n\x1a\n")


def other_pages(page: Page, looker: Looker, case: str) -> None:
    """Look at every page that the story does not need."""
    page.get_by_role("link", name="Model card").click()
    expect(page.locator("h1")).to_be_visible()
    looker.look("model-card")
    for address, what in (
        ("/disagreements", "disagreements"),
        ("/account", "account"),
        ("/users", "users"),
        ("/administration/audit", "audit"),
        ("/cases/" + "0" * 32, "no-such-case"),
    ):
        page.goto(address)
        expect(page.locator("h1")).to_be_visible()
        looker.look(what)


def switch_model(page: Page, looker: Looker) -> None:
    """Switch the model in use and find its evaluation."""
    page.goto("/administration")
    looker.look("administration")
    other = page.locator("tr", has=page.locator('form[action$="/models/switch"]')).first
    name = other.locator("th").inner_text().strip()
    other.get_by_role("button").click()
    expect(page.locator("tr", has_text=name).locator(".badge-accent").first).to_be_visible()
    page.goto("/evaluation")
    expect(page.locator("main")).to_contain_text("AUC")
    expect(page.locator("main svg").first).to_be_visible()
    looker.look("evaluation")


def sign_out_and_find_the_session_dead(page: Page, context: BrowserContext, case: str, looker: Looker) -> None:
    """Sign out; the case asks to sign in, for the browser and for who kept a copy of its cookie."""
    kept = context.cookies()
    through_the_menu(page)
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_load_state("load")
    page.goto(case)
    expect(page.get_by_label("Password", exact=True)).to_be_visible()
    assert page.locator(".case").count() == 0
    looker.look("signed-out")
    context.clear_cookies()
    context.add_cookies(kept)
    assert page.goto(case).status == 401  # type: ignore[union-attr]
    expect(page.get_by_label("Password", exact=True)).to_be_visible()
