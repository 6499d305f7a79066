"""Web servers of the plainest kind, to fetch from."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def serving(files: Mapping[str, bytes], asked: list[str] | None = None) -> Iterator[str]:
    """Serve `files` by their paths as long as the block lasts; `asked` gets the path of each request."""

    class Handler(_Handler):
        def do_GET(self) -> None:
            if asked is not None:
                asked.append(self.path)
            body = files.get(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

    with _running(Handler) as address:
        yield address


@contextmanager
def dripping(head: bytes, tell: Callable[[str], object] = lambda _: None) -> Iterator[str]:
    """A server that sends `head` and then a byte now and then, as long as the block lasts.

    `tell` hears "came" and "gone" of each client.
    """
    is_over = threading.Event()

    class Handler(_Handler):
        def do_GET(self) -> None:
            self.wfile.write(head)
            tell("came")
            with suppress(OSError):
                while not is_over.wait(0.02):
                    self.wfile.write(b"x")
            tell("gone")

    with _running(Handler) as address:
        try:
            yield address
        finally:
            is_over.set()


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextmanager
def _running(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
