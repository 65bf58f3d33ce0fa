"""Headless Chromium over its debugging pipe: a page is opened, measured and photographed; nothing leaves the machine.

The protocol is JSON messages that end in a zero byte, https://chromedevtools.github.io/devtools-protocol/, so that no
driver, no port and no package is needed.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage", "--hide-scrollbars",
    "--remote-debugging-pipe",
]  # fmt: skip
_PATIENCE_S = 60.0


def find_chromium() -> str | None:
    """Return the browser's path, None where there is none."""
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    return next(filter(None, found), None)


@dataclass
class Seen:
    """What a page did while it was open."""

    messages: list[str] = field(default_factory=list)  # of the console, errors and warnings of the browser
    requests: list[str] = field(default_factory=list)  # addresses, those within the page (data:) left out


class Browser:
    """One browser with one page."""

    def __init__(self, executable: str) -> None:
        self._folder = TemporaryDirectory(ignore_cleanup_errors=True)  # its last processes still write
        (to_read, self._write), (self._read, to_write) = os.pipe(), os.pipe()

        def at_three_and_four() -> None:  # where the browser looks for the pipe's ends
            here = os.dup(to_read), os.dup(to_write)
            os.dup2(here[0], 3)
            os.dup2(here[1], 4)

        self._process = subprocess.Popen(
            [executable, *FLAGS, f"--user-data-dir={self._folder.name}", "about:blank"],
            preexec_fn=at_three_and_four, pass_fds=(3, 4), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_read)
        os.close(to_write)
        self._buffer, self._number, self._session = b"", 0, ""
        self._events: list[dict[str, Any]] = []
        target = self.send("Target.getTargets")["targetInfos"][0]["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.send(f"{domain}.enable")

    def __enter__(self) -> "Browser":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._write)
        os.close(self._read)
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result; events that come first are kept."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])
            self._events.append(answer)

    def open(self, page: Path, width: int, height: int = 800) -> Seen:
        """Open a file at that width in CSS pixels and return what it did."""
        self.resize(width, height)
        self._events.clear()
        self.send("Page.navigate", url=page.resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self._events):
            self._events.append(self._receive())
        time.sleep(0.2)  # for what follows the load event
        self.evaluate("1")
        return self._seen()

    def resize(self, width: int, height: int = 800) -> None:
        """Give the page another size, as a phone has it below 700 pixels."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 700,
        )  # fmt: skip

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression."""
        return self.send("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def photograph(self, path: Path, top: int = 0, height: int = 1600) -> None:
        """Write a PNG of the page from `top` on."""
        width = self.evaluate("document.documentElement.clientWidth")
        clip = {"x": 0, "y": top, "width": width, "height": height, "scale": 1}
        shot = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _seen(self) -> Seen:
        seen = Seen()
        for event in self._events:
            method, what = event.get("method"), event.get("params", {})
            if method == "Network.requestWillBeSent" and not what["request"]["url"].startswith("data:"):
                seen.requests.append(what["request"]["url"])
            elif method == "Log.entryAdded":
                seen.messages.append(what["entry"]["text"])
            elif method == "Runtime.consoleAPICalled":
                seen.messages.append(str(what["args"]))
            elif method == "Runtime.exceptionThrown":
                seen.messages.append(what["exceptionDetails"]["text"])
        return seen

    def _receive(self) -> dict[str, Any]:
        end = time.monotonic() + _PATIENCE_S
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0.0, end - time.monotonic()))
            part = os.read(self._read, 1 << 20) if ready else b""
            if not part:
                raise RuntimeError("the browser does not answer")
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(message))
