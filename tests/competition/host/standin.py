"""The host on loopback, as far as submitting and downloading need it: a thread that answers the real client."""

import base64
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

USER, KEY = "nobody", "0123456789abcdef0123456789abcdef"  # of this stand-in alone
SERVICE = "/v1/competitions.CompetitionApiService/"


class StandIn(ThreadingHTTPServer):
    """One competition: its submissions, how many are allowed, its zip; and the errors it was told to answer with."""

    daemon_threads = True

    def __init__(self, content: bytes = b"") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = content  # of the zip
        self.breaks_after: int | None = None  # bytes after which the first download breaks off
        self.allowed = 5
        self.pending_looks = 1  # how often a new submission is listed as pending
        self.final: dict[str, str] = {"status": "COMPLETE", "publicScore": "0.79"}
        self.errors: dict[str, tuple[int, str]] = {}  # request -> status, message
        self.submissions: list[dict[str, Any]] = []
        self.uploaded = b""
        self.ranges: list[str] = []  # of the downloads
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, request: str, content: dict[str, Any]) -> dict[str, Any]:
        """Return what the host says to one request of the competitions' service."""
        if request == "ListSubmissions":
            return {"submissions": [self._look(submission) for submission in reversed(self.submissions)]}
        if request == "GetSubmissionLimits":
            return {"numToday": 5 - self.allowed, "numTotal": 40, "numAllowedNow": self.allowed}
        if request == "StartSubmissionUpload":
            return {"token": "blob-1", "createUrl": f"{self.address}/upload?upload_id=abc123secret"}
        assert request == "CreateSubmission", request
        self.allowed -= 1
        number = len(self.submissions) + 1
        self.submissions.append(
            {
                "ref": number,
                "date": f"2026-11-22T09:00:{number:02d}.120Z",
                "fileName": "submission.csv",
                "description": content.get("submissionDescription", ""),
                "looks": self.pending_looks,
            }
        )
        return {"message": "Successfully submitted to Seeds", "ref": number}

    def _look(self, submission: dict[str, Any]) -> dict[str, Any]:
        submission["looks"] -= 1
        shown = {key: value for key, value in submission.items() if key != "looks"}
        return {**shown, "status": "PENDING"} if submission["looks"] >= 0 else {**shown, **self.final}


class _Handler(BaseHTTPRequestHandler):
    server: StandIn

    def do_POST(self) -> None:
        """One call of the service."""
        content = json.loads(self._body() or b"{}")
        request = self.path.removeprefix(SERVICE)
        wanted = "Basic " + base64.b64encode(f"{USER}:{KEY}".encode()).decode()
        if self.headers["Authorization"] != wanted:
            self._json(401, {"code": 401, "message": "Unauthenticated"})
        elif request in self.server.errors:
            status, message = self.server.errors[request]
            self._json(status, {"code": status, "message": message})
        elif request == "DownloadDataFiles":
            self._send(302, b"", {"Location": f"{self.server.address}/files/data.zip?token=abc123secret"})
        else:
            self._json(200, self.server.answer(request, content))

    def do_PUT(self) -> None:
        """The file of a submission."""
        self.server.uploaded = self._body()
        self._send(*self.server.errors.get("PUT", (200, "")), {})

    def do_GET(self) -> None:
        """The zip, whole or from a byte on."""
        whole, start = self.server.content, 0
        if match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            start = int(match[1])
        self.server.ranges.append(self.headers.get("Range", ""))
        headers = {
            "Accept-Ranges": "bytes",
            "ETag": '"1"',
            "Last-Modified": "Sun, 01 Nov 2026 00:00:00 GMT",
            "Content-Length": str(len(whole) - start),
        }
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(whole) - 1}/{len(whole)}"
        cut, self.server.breaks_after = self.server.breaks_after, None
        self._send(206 if start else 200, whole[start:cut], headers)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _json(self, status: int, content: dict[str, Any]) -> None:
        self._send(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: "bytes | str", headers: dict[str, str]) -> None:
        content = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
