"""A web server on loopback that gives one file, and does wrong what its script says."""

import hashlib
import http.server
import threading
from email.utils import formatdate


class Server(http.server.ThreadingHTTPServer):
    """Gives `content` for every path.

    Attributes:
        content: bytes; another content has another ETag.
        script: for each answer to come, what `Handler.answer` takes; beyond it answers are right.
        requests: of each request that came, its path and its headers Range and If-Range.
        go_on: answers that hold wait for this event.
    """

    daemon_threads = True

    def __init__(self, content):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.script, self.requests = content, [], []
        self.go_on = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"

    @property
    def ranges(self):
        """The header Range of each request that came."""
        return [headers[0] for _, *headers in self.requests]

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *error):
        self.go_on.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        """A client that hangs up is no news."""


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as the server's script says."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):  # noqa: N802
        """One answer."""
        self.close_connection = True
        range_, if_range = self.headers.get("Range"), self.headers.get("If-Range")
        self.server.requests.append((self.path, range_, if_range))
        kwargs = self.server.script.pop(0) if self.server.script else {}
        self.answer(range_, if_range, **kwargs)

    def answer(
        self,
        range_,
        if_range,
        *,
        status=None,
        body=None,
        until=None,
        announce=0,
        knows_range=True,
        knows_if_range=True,
        validators=True,
        hold=None,
        chunked=False,
        headers=(),
    ):
        """Sends the file, or what of it is asked for, unless told otherwise.

        Args:
            status: sends an error, or a redirection, of this code.
            body: sends this in the place of the file.
            until: hangs up before this byte of the file.
            announce: added to Content-Length; None says no length.
            knows_range, knows_if_range, validators: whether the server knows them.
            hold: "headers" waits for `go_on` before it says anything; "end" before it hangs up.
            chunked: sends no length, but chunks.
            headers: further ones, (name, value) each.
        """
        if hold == "headers":
            self.server.go_on.wait()
        if status:
            self.send_response(status)
            self.finish_headers(("Content-Length", "0"), *headers)
            return
        content = self.server.content if body is None else body
        etag = f'"{hashlib.sha256(content).hexdigest()[:8]}"'
        start = int(range_.removeprefix("bytes=").removesuffix("-")) if range_ else 0
        is_same = not if_range or not knows_if_range or if_range == etag
        is_part = range_ and knows_range and is_same
        if is_part and start >= len(content):
            self.send_response(416)
            self.finish_headers(("Content-Range", f"bytes */{len(content)}"))
            return
        self.send_response(206 if is_part else 200)
        start = start if is_part else 0
        if is_part:
            headers += (("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"),)
        if validators:
            headers += (("ETag", etag), ("Last-Modified", formatdate(0, usegmt=True)))
        if chunked:
            headers += (("Transfer-Encoding", "chunked"),)
        elif announce is not None:
            headers += (("Content-Length", str(len(content) - start + announce)),)
        self.finish_headers(*headers)
        self.send_body(content[start:until], chunked, is_whole=until is None)
        if hold == "end":
            self.server.go_on.wait()

    def finish_headers(self, *headers):
        """Sends these headers."""
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()

    def send_body(self, body, chunked, is_whole):
        """Sends these bytes, as one chunk of HTTP or as they are."""
        if chunked:
            body = f"{len(body):x}\r\n".encode() + body + b"\r\n" + b"0\r\n\r\n" * is_whole
        self.wfile.write(body)

    def log_message(self, *args):
        """Says nothing."""
