"""Tests of the pages in extras/, in a real browser: the system's own Chromium, by Playwright."""

import shutil
import unittest
from itertools import product
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

import cnn_sg

try:
    from playwright.sync_api import sync_playwright
except ImportError:
    sync_playwright = None

EXTRAS = Path(__file__).resolve().parent.parent / "extras"
BROWSERS = "chromium", "chromium-browser", "google-chrome"
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)


def stride_groups(image, f, s):
    """Yield pairs: the outputs [row, column] of a group, and its windows, a view of the image."""
    outputs = range((len(image) - f) // s + 1)
    for rows, down in cnn_sg.stride_groups(image, f, s, axis=0):
        for columns, group in cnn_sg.stride_groups(down, f, s, axis=2):
            yield [list(output) for output in product(outputs[rows], outputs[columns])], group


def windows_of(image, f, s):
    return sliding_window_view(image, (f, f), writeable=True)[::s, ::s]


@unittest.skipUnless(sync_playwright, "needs Playwright: python3 -m pip install playwright")
@unittest.skipUnless(BROWSER, f"needs a browser, one of {', '.join(BROWSERS)}")
class StrideGroupsPageTest(unittest.TestCase):
    def setUp(self):
        playwright = sync_playwright().start()
        self.addCleanup(playwright.stop)
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        self.addCleanup(browser.close)
        self.page, self.faults = browser.new_page(), []
        self.address = (EXTRAS / "stride-groups.html").as_uri()
        self.page.on("console", lambda message: self.faults.append(message.text))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", lambda request: self.faults.append(request.url))
        self.page.goto(self.address)

    def tearDown(self):
        self.assertEqual(self.faults, [self.address], "errors, and requests after the page's own")

    def choose(self, size, f, s, direction):
        for slider, value in {"size": size, "f": f, "s": s}.items():
            self.page.fill(f"#{slider}", str(value))
        self.page.click(f"#{direction}")

    def seen(self, panel, drawing):
        """Return the steps that a panel has taken, and the numbers in one of its drawings."""
        cells = self.page.locator(f"#{panel} .{drawing} rect + text").all_text_contents()
        numbers = [int(text) for text in cells if text.isdigit()]
        return int(self.page.inner_text(f"#{panel} .title b")), numbers

    def test_groups_are_those_of_cnn_sg(self):
        cases = [(n, f, s) for n, f, s in product(range(1, 13), range(1, 6), range(1, 6)) if f <= n]
        found = self.page.evaluate("cases => cases.map(sizes => strideGroups(...sizes))", cases)
        for (size, f, s), groups in zip(cases, found, strict=True):
            expected = [outputs for outputs, _ in stride_groups(np.zeros((size, size)), f, s)]
            self.assertEqual(groups, expected, (size, f, s))

    def test_each_step_backward_is_what_numpy_does(self):
        for size, f, s in (4, 2, 1), (7, 3, 2), (8, 2, 3), (6, 5, 1):
            self.choose(size, f, s, "backward")
            self.page.click("text=Start")
            loops, by_group, at_once = images = np.zeros((3, size, size), int)
            views = {
                "loops": [window for row in windows_of(loops, f, s) for window in row],
                "groups": [group for _, group in stride_groups(by_group, f, s)],
                "once": [windows_of(at_once, f, s)],  # NumPy keeps one addition to a pixel
            }
            for step in range(len(views["loops"]) + 1):
                for (panel, steps), dA_prev in zip(views.items(), images):
                    expected = min(step, len(steps)), dA_prev.ravel().tolist()
                    self.assertEqual(self.seen(panel, "image"), expected, (size, f, s, step, panel))
                    for view in steps[step : step + 1]:
                        view += 1
                self.page.keyboard.press("ArrowRight")

    def test_each_step_forward_is_what_numpy_does(self):
        self.choose(7, 3, 2, "forward")
        Z = windows_of(np.arange(49).reshape(7, 7), 3, 2).sum(axis=(2, 3)).ravel().tolist()
        for step in range(1, 10):
            self.assertEqual(self.seen("loops", "outputs"), (step, Z[:step]))
            self.assertEqual(self.seen("once", "outputs"), (1, Z))
            self.page.click("text=Next")

    def test_nothing_scrolls_sideways(self):
        ways = "forward", "backward"
        for width, sizes, direction in product((1200, 390), ((4, 2, 1), (12, 5, 1)), ways):
            self.page.set_viewport_size({"width": width, "height": 900})
            self.choose(*sizes, direction)
            widest = self.page.evaluate("document.documentElement.scrollWidth")
            self.assertLessEqual(widest, width, (sizes, direction))
