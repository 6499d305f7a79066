"""A real HTTP server on loopback that answers as it is told: statuses, bytes, resets."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests


@dataclass(frozen=True)
class Reply:
    """One answer; `reset` breaks the connection instead, after the request was read.

    One that `never_ends` keeps the connection open after its body, as a stream of events does.
    """

    status: int = 200
    body: bytes = b"{}"
    headers: tuple[tuple[str, str], ...] = ()
    reset: bool = False
    never_ends: bool = False


def ok(document: object) -> Reply:
    return Reply(body=json.dumps(document).encode())


RESET = Reply(reset=True)


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Server:
    """`url`, and every request that came, in order."""

    url: str
    requests: list[Request] = field(default_factory=list)

    def paths(self) -> list[str]:
        return [f"{request.method} {request.path}" for request in self.requests]


@contextmanager
def serving(
    answer: Callable[[Request], Reply], *, delay_s: Callable[[Request], float] = lambda _: 0
) -> Iterator[Server]:
    """Serve `answer` on a free loopback port until the block ends, each as late as `delay_s` says."""
    lock, over = threading.Lock(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else each answer waits 40 ms for an acknowledgement

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = Request(self.command, self.path, dict(self.headers), body)
            with lock:
                server.requests.append(request)
                reply = answer(request)
            if seconds := delay_s(request):
                over.wait(seconds)
            if reply.reset:
                # Linger 0: the peer gets a TCP reset, not an orderly end.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                self.connection.close()
                return
            self.send_response(reply.status)
            for name, value in reply.headers:
                self.send_header(name, value)
            if not reply.never_ends and "Content-Length" not in dict(reply.headers):
                self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)
            if reply.never_ends:
                over.wait()
                self.close_connection = True

        do_GET = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815  the names are http.server's

        def log_message(self, *_: object) -> None:
            pass

        def finish(self) -> None:
            with suppress(OSError, ValueError):
                super().finish()

    class _Server(ThreadingHTTPServer):
        request_queue_size = 128  # many connect at once, and each that is not taken comes back a second later

    http = _Server(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    http.handle_error = lambda *_: None  # type: ignore[method-assign]  # a reset is meant
    server = Server(f"http://127.0.0.1:{http.server_port}")
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        over.set()
        http.shutdown()
        http.server_close()
        thread.join()


def script(*replies: Reply) -> Callable[[Request], Reply]:
    """The replies in turn, the last one again and again."""
    left = list(replies)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


def forward(request: Request, to: str) -> Reply:
    """Ask the server behind; its answer."""
    headers = {
        name: value for name, value in request.headers.items() if name.lower() in ("authorization", "content-type")
    }
    answer = requests.request(request.method, to + request.path, data=request.body, headers=headers, timeout=60)
    return Reply(answer.status_code, answer.content, (("Content-Type", answer.headers.get("Content-Type", "")),))
