"""--live: a page to draw a digit on, which shows every layer of the network at work.

The page, live.html, gets the layers and their weights when it opens. It sends the drawing with
each move, and the answer is what every layer makes of it.
"""

import base64
import contextlib
import json
import os
import secrets
import socket
import sys
import threading
import time
import webbrowser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from extras.read import as_mnist

LARGEST = 100_000  # bytes of a drawing; the page sends 280 x 280


def serve(net, module, examples, options):
    """Show the page until Ctrl-C.

    module: the name of the layers'. examples to start from: images (n, 28, 28, 1), labels (n,).
    options: those of mnist.py.
    """
    about = {"model": options.model, "module": module, "weights": options.load.name}
    server = open_server(net, about | {"drawn": options.drawn}, *examples)
    with contextlib.suppress(KeyboardInterrupt), server:
        address = f"http://{server.hosts[0]}{server.root}"
        print(f"Draw a digit at this address; Ctrl-C ends.\n{address}", flush=True)
        screen = {"DISPLAY", "WAYLAND_DISPLAY", "BROWSER"}.intersection(os.environ)
        if screen or sys.platform != "linux":  # else it would open w3m, in this terminal
            threading.Thread(target=webbrowser.open, args=[address], daemon=True).start()
        server.serve_forever()


def open_server(net, about, images, labels):
    """Return a server of the page, for this machine alone, on a port that is free."""
    look(net, bytes(28 * 28))  # from now on every layer has weights
    start = about | {"images": in_base64(images[:100]), "labels": labels[:100].tolist()}
    start["layers"] = [describe(layer) for layer in net.layers]
    page = Path(__file__).with_name("live.html").read_bytes()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket.listen(100)  # connections may wait; the default is 5
    server.root = f"/{secrets.token_urlsafe(9)}/"  # other users of this machine cannot know it
    server.hosts = [f"{name}:{server.server_port}" for name in ("127.0.0.1", "localhost")]
    server.page = page.replace(b"{START}", json.dumps(start).replace("<", "\\u003c").encode())
    server.net, server.lock = net, threading.Lock()  # a layer remembers its last input
    return server


def describe(layer):
    """Return what the page has to know of a layer: its name, its window and its weights."""
    facts = {"name": type(layer).__name__, "repr": repr(layer)}
    facts |= {name: getattr(layer, name) for name in ("fh", "fw", "s", "p") if hasattr(layer, name)}
    return facts | {name: in_base64(getattr(layer, name)) for name in layer.weights}


def look(net, body):
    """Return the drawing as the network takes it, and what each layer puts out: a dict for JSON.

    body: a square of pixels, light on dark, a byte each. Raises ValueError if it is no square.
    """
    side = max(1, round(len(body) ** 0.5))
    pixels = np.frombuffer(body, np.uint8).reshape(side, side)
    if side != 28:  # else it is one of the examples, which are as MNIST has them
        try:
            pixels = as_mnist(pixels)
        except ValueError:  # nothing is drawn
            pixels = np.zeros((28, 28), np.uint8)
    start = time.perf_counter()
    outputs = [pixels[None, :, :, None].astype(np.float32) / 255]
    for layer in net.layers:
        outputs.append(layer.forward_propagate(outputs[-1]))
    seconds = time.perf_counter() - start
    outputs = [{"shape": A.shape[1:], "A": in_base64(A)} for A in outputs]
    return {"seconds": seconds, "outputs": outputs}


def in_base64(array):
    """Return the numbers of an array, as float32, in text."""
    return base64.b64encode(array.astype("<f4").tobytes()).decode()


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection, in a thread of its own."""

    protocol_version = "HTTP/1.1"  # one connection for many drawings
    disable_nagle_algorithm = True  # else half of an answer waits for the other half
    timeout = 10  # seconds, then an idle connection is closed

    def handle(self):
        with contextlib.suppress(OSError):  # the browser has gone
            super().handle()

    def parse_request(self):
        """Also refuse who calls this machine by another name, and what another page sends."""
        if not super().parse_request():
            return False
        host, origin = self.headers["Host"], self.headers["Origin"]
        allowed = host in self.server.hosts and origin in (None, f"http://{host}")
        if not allowed:
            self.refuse(403)
        return allowed

    def do_GET(self):
        if self.path == self.server.root:
            self.reply("text/html", self.server.page)
        else:
            self.refuse(404)

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        if self.path != f"{self.server.root}look":
            self.refuse(404)
        elif not length.isdecimal():
            self.refuse(411)
        elif len(length) > 9 or int(length) > LARGEST:
            self.refuse(413)
        else:
            body = self.rfile.read(int(length))
            try:
                with self.server.lock:
                    answer = look(self.server.net, body)
            except ValueError:
                return self.refuse(400)
            self.reply("application/json", json.dumps(answer).encode())

    def reply(self, kind, content):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def refuse(self, status):
        self.send_error(status)
        self.connection.shutdown(socket.SHUT_WR)
        self.rfile.read(100 * LARGEST)  # to close with bytes unread may lose the answer

    def log_message(self, *args):
        pass
