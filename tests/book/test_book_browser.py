"""The built pages, opened from the disk in headless Chromium."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from book_pages import chapter_pages, toc_pages

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
LOOKS = {
    "desktop-light": (DESKTOP, "light"),
    "desktop-dark": (DESKTOP, "dark"),
    "phone-light": (PHONE, "light"),
    "phone-dark": (PHONE, "dark"),
}
# WCAG AA, for text of normal size.
ENOUGH_CONTRAST = 4.5

# Returns, for every visible piece of text in the article and the menus, the ratio between its
# color and what is painted behind it; the worst first.
CONTRASTS = """() => {
  const rgba = (text) => {
    const n = text.match(/[\\d.]+/g).map(Number);
    return text.startsWith("color(srgb")
      ? [n[0] * 255, n[1] * 255, n[2] * 255, n.length > 3 ? n[3] : 1]
      : [n[0], n[1], n[2], n.length > 3 ? n[3] : 1];
  };
  const over = (top, below) =>
    [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat([1]);
  const behind = (element) => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) {
      const color = rgba(getComputedStyle(e).backgroundColor);
      layers.push(color);
      if (color[3] === 1) break;
    }
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const luminance = (color) => {
    const [r, g, b] = color.slice(0, 3).map((v) => {
      v /= 255;
      return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const results = [];
  const roots = document.querySelectorAll("article.bd-article, .bd-sidebar-primary");
  for (const root of roots) {
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      const element = node.parentElement;
      if (!node.textContent.trim() || !element.checkVisibility({ visibilityProperty: true }))
        continue;
      if (element.closest(".headerlink, .copybtn, script, style, .visually-hidden")) continue;
      const back = behind(element);
      const front = over(rgba(getComputedStyle(element).color), back);
      const [a, b] = [luminance(front), luminance(back)].sort((x, y) => y - x);
      results.push([(a + 0.05) / (b + 0.05), element.tagName, node.textContent.trim()]);
    }
  }
  return results.sort((x, y) => x[0] - y[0]).slice(0, 5).map(
    ([ratio, tag, text]) => [ratio, `${tag}: ${text.slice(0, 60)}`]
  );
}"""

WIDER_THAN_THE_WINDOW = """() => [...document.querySelectorAll("article.bd-article img")]
  .filter((image) => image.getBoundingClientRect().right > window.innerWidth + 1)
  .map((image) => image.alt)"""

# Named where the page is wider than the window, to say which element is to blame.
STICKING_OUT = """() => [...document.querySelectorAll("body *")]
  .filter((e) => e.checkVisibility() && e.getBoundingClientRect().right > window.innerWidth + 1)
  .slice(0, 8).map((e) => `${e.tagName}.${e.className}`)"""


@contextmanager
def opened(browser, html: Path, page: str, look: str = "desktop-light") -> Iterator[object]:
    """Open a page from the disk; afterwards, fail on any error it met or address it asked for."""
    viewport, scheme = LOOKS[look]
    context = browser.new_context(viewport=viewport, color_scheme=scheme)
    tab = context.new_page()
    complaints: list[str] = []
    listen(tab, complaints)
    tab.goto((html / f"{page}.html").as_uri())
    tab.wait_for_load_state("networkidle")
    yield tab
    if folder := os.environ.get("REPTUNE_SCREENSHOTS"):
        name = f"{page.replace('/', '-')}.{look}.png"
        tab.screenshot(path=Path(folder) / name, full_page=True)
    context.close()
    assert complaints == []


def listen(tab, complaints: list[str]) -> None:
    """Write down a page's errors and every address that is not on the disk."""
    local = ("file:", "data:", "blob:", "about:")

    def asked(request) -> None:
        if not request.url.startswith(local):
            complaints.append(f"asked for {request.url}")

    def said(message) -> None:
        if message.type == "error":
            complaints.append(message.text)

    tab.on("request", asked)
    tab.on("console", said)
    tab.on("pageerror", lambda error: complaints.append(f"script error: {error}"))
    tab.on("requestfailed", lambda request: complaints.append(f"failed: {request.url}"))


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("page", toc_pages())
def test_page_opens_and_is_readable(browser, html: Path, page: str, look: str) -> None:
    with opened(browser, html, page, look) as tab:
        scheme = LOOKS[look][1]
        assert tab.evaluate("document.documentElement.dataset.theme") == scheme
        # A color that is still fading from light to dark would be measured half-way.
        tab.add_style_tag(content="* { transition: none !important; }")
        worst = tab.evaluate(CONTRASTS)
        assert worst, "no text was found on the page"
        assert [text for ratio, text in worst if ratio < ENOUGH_CONTRAST] == []
        width = tab.evaluate("document.scrollingElement.scrollWidth")
        assert width <= LOOKS[look][0]["width"], tab.evaluate(STICKING_OUT)
        assert tab.evaluate(WIDER_THAN_THE_WINDOW) == []


def test_index_opens_the_first_page(browser, html: Path) -> None:
    with opened(browser, html, "index") as tab:
        tab.wait_for_url(f"**/{toc_pages()[0]}.html")


def test_menu_opens_a_page(browser, html: Path) -> None:
    chapter = chapter_pages()[0]
    with opened(browser, html, toc_pages()[0]) as tab:
        tab.locator(f".bd-sidebar-primary a[href$='{Path(chapter).name}.html']").first.click()
        tab.wait_for_url(f"**/{chapter}.html")
        assert tab.locator("article.bd-article h1").is_visible()


def test_menu_opens_a_page_on_a_phone(browser, html: Path) -> None:
    chapter = chapter_pages()[0]
    with opened(browser, html, toc_pages()[0], "phone-light") as tab:
        link = tab.locator(f"a.reference.internal[href$='{Path(chapter).name}.html']:visible")
        menu = tab.locator("dialog#pst-primary-sidebar-modal, .bd-sidebar-primary").locator(link)
        assert menu.count() == 0, "the menu is open before its button was pressed"
        tab.locator("button.primary-toggle:visible").first.click()
        menu.first.click()
        tab.wait_for_url(f"**/{chapter}.html")


@pytest.mark.parametrize("look", ["desktop-light", "phone-light"])
def test_search_box_finds_a_word(browser, html: Path, look: str) -> None:
    with opened(browser, html, toc_pages()[0], look) as tab:
        tab.locator(
            "button.search-button-field:visible, button.search-button:visible"
        ).first.click()
        box = tab.locator("input[type=search]:visible").first
        box.fill("fine-tuning")
        box.press("Enter")
        hit = tab.locator("#search-results li a:visible").first
        hit.wait_for(timeout=15_000)
        hit.click()
        tab.wait_for_load_state()
        assert "fine-tun" in tab.locator("body").inner_text().lower()


# Of a cell's code: its size, and the widths and colors of its borders but for the left one.
CODE = """() => {
  const cell = document.querySelector(".bd-article div.cell_input");
  const [box, code] = [getComputedStyle(cell), getComputedStyle(cell.querySelector("pre"))];
  const sides = ["Top", "Right", "Bottom"].map(
    (side) => `${box[`border${side}Width`]} ${box[`border${side}Color`]}`
  );
  return [parseFloat(code.fontSize), [...new Set(sides)], code.borderTopWidth];
}"""


@pytest.mark.parametrize("look", LOOKS)
def test_code_is_large_enough_and_framed_on_all_sides(browser, html: Path, look: str) -> None:
    with opened(browser, html, chapter_pages()[0], look) as tab:
        size, sides, inner = tab.evaluate(CODE)
        assert size >= 12.8, "prose has 16"
        assert len(sides) == 1 and sides[0].startswith("1px") and inner == "0px"


def test_no_line_of_code_scrolls_on_a_phone(browser, html: Path) -> None:
    with opened(browser, html, chapter_pages()[0], "phone-light") as tab:
        wide = """() => [...document.querySelectorAll(".cell_input pre")].filter(
          (code) => code.scrollWidth > code.clientWidth + 1).length"""
        assert tab.evaluate(wide) == 0


def test_a_tap_makes_a_figure_larger_on_a_phone_alone(browser, html: Path) -> None:
    width = "(image) => image.getBoundingClientRect().width"
    for look, grows in (("phone-light", True), ("desktop-light", False)):
        with opened(browser, html, chapter_pages()[0], look) as tab:
            image = tab.locator(".bd-article .cell_output img").first
            small = image.evaluate(width)
            image.click()
            assert (image.evaluate(width) > 1.5 * small) is grows
            page = tab.evaluate("document.scrollingElement.scrollWidth")
            assert page <= LOOKS[look][0]["width"], "the figure scrolls, not the page"
            image.click()
            assert image.evaluate(width) == small


def test_button_switches_to_dark(browser, html: Path) -> None:
    with opened(browser, html, toc_pages()[0]) as tab:
        seen = set()
        for _ in range(3):
            tab.locator("button.theme-switch-button:visible").first.click()
            seen.add(tab.evaluate("document.documentElement.dataset.theme"))
        assert seen == {"light", "dark"}
