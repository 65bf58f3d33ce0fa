"""The host on loopback, as far as submitting, downloading and notebooks need it: a thread that answers the client."""

import base64
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

USER, KEY = "nobody", "0123456789abcdef0123456789abcdef"  # of this stand-in alone
SERVICES = r"/v1/\w+\.(?:Competition|Dataset|Kernels|Blob)ApiService/"


class StandIn(ThreadingHTTPServer):
    """One competition: its submissions, how many are allowed, its zip; what its one user has there; and errors."""

    daemon_threads = True

    def __init__(self, content: bytes = b"") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = content  # of the file that is downloaded
        self.breaks_after: int | None = None  # bytes after which the first download breaks off
        self.allowed = 5
        self.pending_looks = 1  # how often a new submission is listed as pending
        self.final: dict[str, str] = {"status": "COMPLETE", "publicScore": "0.79"}
        self.errors: dict[str, tuple[int, str]] = {}  # request -> status, message
        self.submissions: list[dict[str, Any]] = []
        self.uploaded = b""
        self.ranges: list[str] = []  # of the downloads
        self.log: list[str] = []  # the requests
        self.datasets: dict[str, list[list[str]]] = {}  # by OWNER/NAME: versions, each the names of its files
        self.notebooks: dict[str, list[dict[str, Any]]] = {}  # by OWNER/NAME: versions
        self.session: list[dict[str, str]] = [{"status": "RUNNING"}, {"status": "COMPLETE"}]  # of the next notebook
        self.refused: dict[str, list[str]] = {}  # what the next notebook cannot have: invalidDatasetSources, ...
        self.blobs: list[bytes] = []
        self.files: dict[str, bytes] = {}  # of datasets, by OWNER/NAME/FILE
        self.sent_as = "{}"  # what the host makes of such a file's name
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, request: str, content: dict[str, Any]) -> dict[str, Any]:
        """Return what the host says to one request."""
        self.log.append(request)
        if request == "GetDatasetMetadata":
            return {"info": {"licenses": [{"name": "other"}]}}
        own = {"datasetSlug", "kernelSlug", "slug"} & content.keys()
        if own and request != "CreateCodeSubmission":
            return self._own_work(request, content)
        if request == "StartBlobUpload":
            return {"token": f"blob-{len(self.blobs)}", "createUrl": f"{self.address}/upload?upload_id=abc123secret"}
        if request == "ListSubmissions":
            return {"submissions": [self._look(submission) for submission in reversed(self.submissions)]}
        if request == "GetSubmissionLimits":
            return {"numToday": 5 - self.allowed, "numTotal": 40, "numAllowedNow": self.allowed}
        if request == "StartSubmissionUpload":
            return {"token": "blob-1", "createUrl": f"{self.address}/upload?upload_id=abc123secret"}
        assert request in ("CreateSubmission", "CreateCodeSubmission"), request
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

    def _own_work(self, request: str, content: dict[str, Any]) -> dict[str, Any]:
        if request == "SaveKernel":
            versions = self.notebooks.setdefault(content["slug"], [])
            versions.append(content)
            page = f"https://www.kaggle.com/code/{content['slug']}"
            return {"versionNumber": len(versions), "url": page, "error": "", **self.refused}
        if request == "GetKernelSessionStatus":
            return self.session.pop(0) if len(self.session) > 1 else self.session[0]
        name = f"{content['ownerSlug']}/{content.get('slug') or content['datasetSlug']}"
        if request == "GetDatasetStatus":
            return {"status": "READY"}
        files = (content.get("body") or content)["files"]
        self.datasets.setdefault(name, []).append([file["token"] for file in files])
        return {"status": "ok", "url": f"https://www.kaggle.com/{name}"}

    def refusal(self, request: str, content: dict[str, Any]) -> tuple[int, str] | None:
        """Return the answer to a request for what is not there, as status and message."""
        name = f"{content.get('ownerSlug')}/{content.get('datasetSlug')}"
        if request == "GetDatasetMetadata" and not any(file.startswith(f"{name}/") for file in self.files):
            return 403, "Permission 'datasets.get' was denied"
        lacks_file = request == "DownloadDataset" and f"{name}/{content['fileName']}" not in self.files
        lacks_dataset = request == "GetDatasetStatus" and name not in self.datasets
        return (404, "Not found") if lacks_file or lacks_dataset else None

    def _look(self, submission: dict[str, Any]) -> dict[str, Any]:
        submission["looks"] -= 1
        shown = {key: value for key, value in submission.items() if key != "looks"}
        return {**shown, "status": "PENDING"} if submission["looks"] >= 0 else {**shown, **self.final}


class _Handler(BaseHTTPRequestHandler):
    server: StandIn

    def do_POST(self) -> None:
        """One call of the service."""
        content = json.loads(self._body() or b"{}")
        request = re.sub(SERVICES, "", self.path)
        wanted = "Basic " + base64.b64encode(f"{USER}:{KEY}".encode()).decode()
        if self.headers["Authorization"] != wanted:
            self._json(401, {"code": 401, "message": "Unauthenticated"})
        elif error := self.server.errors.get(request) or self.server.refusal(request, content):
            self._json(error[0], {"code": error[0], "message": error[1]})
        elif request in ("DownloadDataFiles", "DownloadDataset"):
            name = "data.zip"
            if request == "DownloadDataset":
                self.server.log.append(request)
                path = f"{content['ownerSlug']}/{content['datasetSlug']}/{content['fileName']}"
                self.server.content, name = self.server.files[path], self.server.sent_as.format(Path(path).name)
            self._send(302, b"", {"Location": f"{self.server.address}/files/{name}?token=abc123secret"})
        else:
            self._json(200, self.server.answer(request, content))

    def do_PUT(self) -> None:
        """The file of a submission."""
        self.server.uploaded = self._body()
        self.server.blobs.append(self.server.uploaded)
        self._send(*self.server.errors.get("PUT", (200, "")), {})

    def do_GET(self) -> None:
        """A file, whole or from a byte on."""
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
