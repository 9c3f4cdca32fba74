"""A real headless Chromium, driven over its debugging pipe: no driver to install, no port to open."""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_DEADLINE_S = 60.0


class Chromium:
    """One browser with one page. ``log`` has what the page complained of, ``dialogs`` what it tried to pop up."""

    def __init__(self, profile: Path) -> None:
        self.log: list[str] = []
        self.dialogs: list[str] = []
        self.requests: list[str] = []
        self._numbers = itertools.count(1)
        self._unread = b""
        to_browser, self._write = _pipe()
        self._read, from_browser = _pipe()
        assert CHROMIUM
        command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += ["--remote-debugging-pipe", f"--user-data-dir={profile}", "--no-first-run", "about:blank"]
        # The browser speaks on the descriptors 3 and 4.
        wired = ["bash", "-c", f'exec "$@" 3<&{to_browser} 4>&{from_browser}', "bash", *command]
        self._process = subprocess.Popen(
            wired, pass_fds=(to_browser, from_browser), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(to_browser)
        os.close(from_browser)
        self._session = ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        """End the browser."""
        os.close(self._write)
        os.close(self._read)
        self._process.terminate()
        self._process.wait(10)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command and return its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + _DEADLINE_S
        while True:
            answer = self._message(deadline)
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer["error"])
                return dict(answer["result"])
            self._note(answer)

    def run(self, script: str, *, may_fail: bool = False) -> Any:
        """Return what an expression is in the page; promises are waited for."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            assert may_fail, found["exceptionDetails"]
            return None
        return found["result"].get("value")

    def open(self, page: Path, *, link: str = "", width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Open a file anew and wait until the trace browser is there."""
        self.visit(page.as_uri() + link, width=width, height=height, dark=dark)

    def visit(self, address: str, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Open an address anew and wait until the trace browser is there."""
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **screen)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url="about:blank")
        self.log, self.dialogs, self.requests = [], [], []
        self.call("Page.navigate", url=address)
        self.wait("document.documentElement?.dataset.ready")

    def wait(self, condition: str) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + _DEADLINE_S
        while not self.run(f"Boolean({condition})"):
            assert time.monotonic() < deadline, (condition, self.log)
            time.sleep(0.02)

    def picture(self, path: Path, *, full: bool = False) -> None:
        """Save a screenshot, of what is in view or of the whole page."""
        data = self.call("Page.captureScreenshot", captureBeyondViewport=full)["data"]
        path.write_bytes(base64.b64decode(data))

    def print_out(self, path: Path) -> None:
        """Save the page as it prints."""
        path.write_bytes(base64.b64decode(self.call("Page.printToPDF")["data"]))

    def _note(self, event: dict[str, Any]) -> None:
        parameters = event.get("params", {})
        if event.get("method") == "Page.javascriptDialogOpening":
            self.dialogs.append(parameters["message"])
            self._session and os.write(self._write, self._dismissal())
        elif event.get("method") == "Log.entryAdded":
            self.log.append(parameters["entry"]["text"])
        elif event.get("method") == "Runtime.exceptionThrown":
            self.log.append(str(parameters["exceptionDetails"]))
        elif event.get("method") == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])

    def _dismissal(self) -> bytes:
        message = {"id": next(self._numbers), "method": "Page.handleJavaScriptDialog", "params": {"accept": False}}
        return json.dumps({**message, "sessionId": self._session}).encode() + b"\0"

    def _message(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._unread:
            ready = select.select([self._read], [], [], max(0.0, deadline - time.monotonic()))[0]
            assert ready, "the browser does not answer"
            self._unread += os.read(self._read, 1 << 20)
        line, _, self._unread = self._unread.partition(b"\0")
        return dict(json.loads(line))


def _pipe() -> tuple[int, int]:
    """Return the ends of a pipe, out of the way of the numbers that the browser wants."""
    ends = os.pipe()
    moved = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return moved[0], moved[1]
