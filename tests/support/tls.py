"""Servers that speak TLS on loopback, with a certificate of their own."""

from __future__ import annotations

import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def certificate(folder: Path, *, of: str = "IP:127.0.0.1") -> Path:
    """A self-signed certificate and its key, in one file; a client trusts it that has it as REQUESTS_CA_BUNDLE."""
    pem, key = folder / "server.pem", folder / "server.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=vidctl test",
         "-addext", f"subjectAltName={of}", "-keyout", key, "-out", pem],
        check=True,
        capture_output=True,
    )  # fmt: skip
    pem.write_text(pem.read_text() + key.read_text())
    return pem


@contextmanager
def redirecting(pem: Path, places: Mapping[str, str]) -> Iterator[str]:
    """A server that redirects each of the paths, and answers all others with their own bytes."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            place = places.get(self.path)
            body = b"" if place else self.path.encode()
            self.send_response(302 if place else 200)
            if place:
                self.send_header("Location", place)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that trusts it not goes away
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
