"""--live: the page in a real browser, and its server asked by hand."""

import base64
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import cnn_sg
import mnist
from extras import live

try:
    from playwright.sync_api import sync_playwright
except ImportError:
    sync_playwright = None

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = ROOT / "extras" / "lenet.npz"
BROWSERS = "chromium", "chromium-browser", "google-chrome"
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
STROKES = {  # of a hand; 37 is x = 3, y = 7 on a pad of 10 x 10
    0: "51 32 24 26 38 58 77 75 73 62 51",
    1: "42 51 55 59",
    2: "23 32 51 72 74 56 28 48 78",
    3: "22 51 72 64 45 64 76 77 58 38 27",
    4: "31 25 46 75, 61 65 69",
    5: "72 42 31 25 44 64 76 77 58 37",
    6: "61 43 25 27 38 58 76 65 46 36",
    7: "22 52 72 65 49",
    8: "73 51 32 33 55 77 58 38 37 55 73",
    9: "72 51 32 34 45 64 73 75 67 59",
}
PIXELS = (  # layer, row, column, map; or layer, neuron
    (0, 9, 12, 3), (0, 20, 5, 11), (0, 14, 14, 19), (1, 3, 7, 8), (2, 0, 0, 0),
    (2, 4, 3, 7), (2, 7, 6, 49), (3, 1, 2, 30), (5, 123), (6, 2),
)  # fmt: skip


def network(model):
    return cnn_sg.Network(mnist.models(cnn_sg, 10)[model], seed=1)


def serve(test, net, **about):
    """Start a server that the test's end stops; return it."""
    server = live.open_server(net, about, np.zeros((1, 28, 28, 1), np.uint8), np.zeros(1, np.uint8))
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    for close in (server.server_close, thread.join, server.shutdown):
        test.addCleanup(close)  # the last first
    return server


@unittest.skipUnless(sync_playwright, "needs Playwright: python3 -m pip install playwright")
@unittest.skipUnless(BROWSER, f"needs a browser, one of {', '.join(BROWSERS)}")
@unittest.skipUnless(WEIGHTS.exists(), "needs extras/lenet.npz")
class InABrowser(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        playwright = sync_playwright().start()
        cls.addClassCleanup(playwright.stop)
        cls.browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        cls.addClassCleanup(cls.browser.close)

    def setUp(self):
        self.net = network("lenet").load(WEIGHTS)
        server = serve(self, network("lenet").load(WEIGHTS))
        self.address = f"http://{server.hosts[0]}{server.root}"
        self.errors, self.answers = [], []
        self.open(1200, 900)

    def tearDown(self):
        self.assertEqual(self.errors, [])

    def open(self, width, height):
        self.page = self.browser.new_page(viewport={"width": width, "height": height})
        self.addCleanup(self.page.close)
        self.page.on("console", lambda message: self.errors.append(message.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("response", lambda response: self.answers.append(response))
        self.page.goto(self.address)
        self.layers = self.page.locator("#layers[aria-busy=false] .layer")
        self.layers.first.wait_for()

    def draw(self, digit):
        self.page.click("#clear")
        box = self.page.locator("#pad").bounding_box()
        for stroke in STROKES[digit].split(", "):
            for k, (x, y) in enumerate(stroke.split()):
                at = box["x"] + int(x) / 10 * box["width"], box["y"] + int(y) / 10 * box["height"]
                self.page.mouse.move(*at, steps=2)
                if k == 0:
                    self.page.mouse.down()
            self.page.mouse.up()
        self.layers.first.wait_for()

    def outputs(self):
        """The input that the page shows, and what NumPy makes of it, layer by layer."""
        pixels = self.page.evaluate("""[...document.querySelector("#seen").getContext("2d")
            .getImageData(0, 0, 28, 28).data].filter((_, k) => k % 4 === 0)""")
        outputs = [np.float32(pixels).reshape(1, 28, 28, 1) / 255]
        for layer in self.net.layers:
            outputs.append(layer.forward_propagate(outputs[-1]))
        return [A[0] for A in outputs]

    def click(self, k, at):
        canvas = self.layers.nth(k).locator("canvas").nth(at[2] if len(at) == 3 else 0)
        width = canvas.evaluate("canvas => canvas.width")
        row, column = at[:2] if len(at) == 3 else divmod(at[0], width)
        scale = canvas.bounding_box()["width"] / width
        self.page.keyboard.press("Escape")
        canvas.click(position={"x": (column + 0.5) * scale, "y": (row + 0.5) * scale})

    def shows(self, selector, expected):
        """The formula shows these numbers, each at the end of an element's text."""
        texts = self.page.locator(f"#formula {selector}").all_inner_texts()
        numbers = [float(text.split()[-1]) for text in texts]
        np.testing.assert_allclose(numbers, np.ravel(expected), atol=0.00051, err_msg=selector)

    def test_reads_what_the_mouse_draws(self):
        answers = {}
        for digit in STROKES:
            self.draw(digit)
            answers[digit] = self.page.inner_text("#answer").strip()[:1]
        right = sum(str(digit) == answer for digit, answer in answers.items())
        self.assertGreaterEqual(right, 9, answers)
        self.assertGreater(len(self.answers), 50)  # it reads while the hand moves

    def test_every_layer_is_shown(self):
        self.draw(3)
        self.assertEqual(self.layers.count(), len(self.net.layers))
        for k, (layer, A) in enumerate(zip(self.net.layers, self.outputs()[1:])):
            text = self.layers.nth(k).inner_text()
            for part in (repr(layer), " × ".join(map(str, A.shape)), f"white {A.max():.2f}"):
                self.assertIn(part, text)
            kinds = [self.layers.nth(k).locator(kind).count() for kind in (".map", ".strip")]
            self.assertEqual(kinds, [A.shape[2], 0] if A.ndim == 3 else [0, 1])

    def test_formula_has_numpys_numbers(self):
        self.draw(2)
        outputs = self.outputs()
        for k, *at in PIXELS:
            with self.subTest(layer=k, at=at):
                self.click(k, at)
                self.shows(".result", outputs[k + 1][tuple(at)])
                if len(at) == 1:
                    self.check_neuron(self.net.layers[k], outputs[k], *at)
                else:
                    self.check_window(self.net.layers[k], outputs[k], *at)

    def check_neuron(self, layer, A_prev, n):
        products = A_prev * layer.W[:, n]
        self.shows("td:last-child", sorted(products, key=lambda x: -abs(x))[:6])
        self.shows(".sum, .bias", [products.sum(), layer.b[n]])

    def check_window(self, layer, A_prev, i, j, f):
        window = A_prev[layer.s * i :, layer.s * j :][: layer.fh, : layer.fw]
        c = f  # the map that is shown in full
        if isinstance(layer, cnn_sg.PoolLayer):
            self.shows("td", window[:, :, f])
            self.shows("td.largest", window[:, :, f].max())
        else:
            W, b = layer.W[:, :, :, f], layer.b[0, 0, 0, f]
            sums = np.sum(window * W, axis=(0, 1))
            c = np.argmax(np.abs(sums))
            self.shows("td", [each[:, :, c] for each in (window, W, window * W)])
            self.shows(".channels button", sums if len(sums) > 1 else [])
            self.shows(".sum, .bias, .Z", [sums.sum(), b, sums.sum() + b])
        framed = self.page.locator(".frame.strong").locator("xpath=../canvas").first
        name = f"map {c} " if A_prev.shape[2] > 1 else "The drawing"
        self.assertIn(name, framed.get_attribute("aria-label"))

    def test_keyboard(self):
        self.layers.first.locator(".map").first.focus()
        for key in ("Enter", "ArrowDown", "Shift+ArrowRight"):
            self.page.keyboard.press(key)
        self.assertIn("map 1, row 13, column 12", self.page.inner_text("#formula"))

    def test_fits_the_window(self):
        for width, height in ((1200, 900), (390, 844)):
            self.open(width, height)
            self.draw(5)
            for part in ("#pad", "#answer b", ".layer:first-child .map") if width == 1200 else ():
                box = self.page.locator(part).first.bounding_box()
                self.assertLess(box["y"] + box["height"], height, part)
            self.click(2, [3, 3, 9])
            self.assertEqual(self.page.evaluate("document.documentElement.scrollWidth"), width)


class ByHand(unittest.TestCase):
    """Requests that the page does not send."""

    def setUp(self):
        self.net = network("flat")
        self.server = serve(self, self.net, weights="</script>")
        self.page, self.look = self.server.root, f"{self.server.root}look"
        self.host = self.server.hosts[0]

    def tearDown(self):
        self.assertEqual(self.ask("POST", self.look, bytes(28 * 28))[0], 200)  # it goes on

    def ask(self, method, path, body=None, **headers):
        """Return the answer's status and content."""
        connection = http.client.HTTPConnection(*self.server.server_address, timeout=5)
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, content

    def test_page_is_whole_and_asks_nobody_else(self):
        _, page = self.ask("GET", self.page)
        self.assertEqual(page.count(b"</script>"), 2)
        addresses = re.findall(rb"https?:[^'\"]*", page)
        self.assertEqual(addresses, [b"http://www.w3.org/2000/svg"])  # a name, not a place

    def test_answer(self):
        drawing = np.zeros((280, 280), np.uint8)
        drawing[60:220, 130:150] = 255
        _, answer = self.ask("POST", self.look, drawing.tobytes())
        first, *_, last = [base64.b64decode(each["A"]) for each in json.loads(answer)["outputs"]]
        x = np.float32(live.as_mnist(drawing))[None, :, :, None] / 255
        np.testing.assert_array_equal(np.frombuffer(first, "<f4"), x.ravel())
        np.testing.assert_allclose(np.frombuffer(last, "<f4"), self.net.predict(x)[0], rtol=1e-5)

    def test_refuses_other_names_and_other_pages(self):
        port = self.server.server_port
        with self.assertRaises(OSError):
            socket.create_connection(("127.0.0.2", port), timeout=1)
        for host, origin, status in (
            (self.host, f"http://{self.host}", 200),
            (f"localhost:{port}", f"http://localhost:{port}", 200),
            ("example.com", f"http://{self.host}", 403),
            (f"example.com:{port}", f"http://example.com:{port}", 403),
            ("127.0.0.1", "http://127.0.0.1", 403),
            (self.host, "http://example.com", 403),
            (self.host, "null", 403),
        ):
            with self.subTest(host=host, origin=origin):
                headers = {"Host": host, "Origin": origin}
                self.assertEqual(self.ask("GET", self.page, **headers)[0], status)
                self.assertEqual(self.ask("POST", self.look, bytes(28 * 28), **headers)[0], status)

    def test_serves_no_file(self):
        for path in ("/", "/mnist.py", f"{self.page}live.html", f"{self.page}../mnist.py", "/look"):
            for method in ("GET", "POST"):
                self.assertEqual(self.ask(method, path, bytes(28 * 28))[0], 404, path)

    def test_refuses_other_bodies(self):
        for size, status in ((0, 400), (27, 400), (785, 400), (100_001, 413), (5_000_000, 413)):
            self.assertEqual(self.ask("POST", self.look, bytes(size))[0], status, size)
        for length, status in (("-1", 411), ("ten", 411), ("9" * 5000, 413)):
            headers = {"Content-Length": length}
            self.assertEqual(self.ask("POST", self.look, b"123", **headers)[0], status, length[:9])
        self.assertEqual(self.ask("POST", self.look, iter([b"123"]))[0], 411)  # in chunks

    def test_idle_connections_do_no_harm(self):
        begin = time.monotonic()
        start = f"POST {self.look} HTTP/1.1\r\nHost: {self.host}\r\n".encode()
        for k in range(60):
            idle = socket.create_connection(self.server.server_address)
            self.addCleanup(idle.close)
            idle.sendall(start[:k])
        self.assertEqual(self.ask("GET", self.page)[0], 200)
        self.assertLess(time.monotonic() - begin, 2)  # not after their timeout

    def test_one_thread_uses_the_network_at_a_time(self):
        at_work, most = [], []
        def forward_propagate(input):
            at_work.append(input)
            most.append(len(at_work))
            time.sleep(0.02)
            at_work.pop()
            return input
        self.net.layers[0].forward_propagate = forward_propagate
        del self.net.layers[1:]
        with ThreadPoolExecutor(8) as pool:
            pool.map(lambda _: self.ask("POST", self.look, bytes(28 * 28)), range(8))
        self.assertEqual(most, 8 * [1])


class FromTheCommandLine(unittest.TestCase):
    @unittest.skipIf(os.name == "nt", "no Ctrl-C for one process alone")
    def test_prints_its_address_and_ends_with_ctrl_c(self):
        net = network("flat")
        net.predict(np.zeros((1, 28, 28, 1), np.float32))
        with TemporaryDirectory() as folder:
            net.save(f"{folder}/flat.npz")
            command = [sys.executable, ROOT / "mnist.py", "flat", "--live"]
            command += ["--load", f"{folder}/flat.npz", "--data", folder]
            environment = os.environ | {"BROWSER": "true"}  # a program that does nothing
            with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
                lines = iter(process.stdout.readline, b"")
                address = next(line for line in lines if line.startswith(b"http"))
                self.assertRegex(address, rb"^http://127\.0\.0\.1:\d+/\S+$")
                process.send_signal(signal.SIGINT)
                self.assertEqual(process.wait(10), 0)


if __name__ == "__main__":
    unittest.main()
