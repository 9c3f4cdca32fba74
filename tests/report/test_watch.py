"""tpt watch: a live run's report in a browser on this machine, and nobody else's."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from chromium import CHROMIUM, Chromium
from command_line import ENTRY, QUICKSTART, TINY, sets, wait_for
from made_run import make_run

from tpt.report.html import LivePage, PageServer
from tpt.run.directory import RunDir


def fetched(address: str) -> str:
    with urllib.request.urlopen(address, timeout=60) as answer:
        return str(answer.read().decode())


def status_at(address: str) -> dict[str, Any]:
    return dict(json.loads(fetched(f"{address}status")))


@contextmanager
def served(run: RunDir) -> Iterator[PageServer]:
    with PageServer(LivePage(run)) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def refused(server: PageServer, path: str, **headers: str) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


@pytest.mark.timeout(900)
def test_a_real_run_is_followed_from_its_start_to_its_end(tmp_path: Path) -> None:
    run = tmp_path / "run"
    quiet = subprocess.DEVNULL
    making = subprocess.Popen(
        [*ENTRY, "run", str(QUICKSTART), "--out", str(run), *sets(*TINY)], stdout=quiet, stderr=quiet
    )
    watching = None
    try:
        wait_for((run / "config.toml").exists, 300)
        watching = subprocess.Popen(
            [*ENTRY, "watch", str(run)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert watching.stdout
        address = watching.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{32}/", address)
        lines = []

        def is_over() -> bool:
            lines.append(status_at(address))
            return bool(lines[-1]["ended"])

        wait_for(is_over, 300)
        assert making.wait(120) == 0
        assert any("running, process" in each["line"] for each in lines)
        assert any(re.search(r"round 0 base model's score: [\d,]+/", each["line"]) for each in lines)
        assert lines[-1]["line"] == "finished: the one round is done"
        page = fetched(address)
        assert "Round by round" in page and f'data-version="{lines[-1]["version"]}"' in page
        watching.send_signal(signal.SIGINT)
        out, err = watching.communicate(timeout=60)
        assert (watching.returncode, out) == (0, "")
        assert "only browsers on this machine can open it. Ctrl-C ends it." in err and "Traceback" not in err
        assert err.endswith("ended; the run goes on without it\n")
    finally:
        for process in (making, watching):
            if process and process.poll() is None:
                process.kill()
                process.wait()


def test_without_the_token_and_under_foreign_names_there_is_nothing(tmp_path: Path) -> None:
    with served(make_run(tmp_path / "first")) as server:
        path = server.address.removeprefix("http://127.0.0.1").partition("/")[2]
        for other in ("/", "/status", "/x/", f"/{path[:-2]}/", f"/x{path}", f"/{path}report", f"/{path}../", "x"):
            code, said = refused(server, other)
            assert (code, said[:9]) == (404, "Not found"), other
        for host in ("example.org", "127.0.0.1.example.org", "", "[::1", "0.0.0.0"):
            code, said = refused(server, f"/{path}", Host=host)
            assert (code, said) == (403, "Open this page as 127.0.0.1 or localhost.\n"), host
        for host in ("localhost:9", "127.0.0.1"):
            assert refused(server, f"/{path}", Host=host)[0] == 200
        with pytest.raises(urllib.error.HTTPError, match="501"):
            urllib.request.urlopen(urllib.request.Request(server.address, method="POST"), timeout=10)
        with urllib.request.urlopen(urllib.request.Request(server.address, method="HEAD"), timeout=10) as answer:
            assert answer.read() == b"" and int(answer.headers["Content-Length"]) > 10_000
            assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'none'"
            assert answer.headers["Cache-Control"] == "no-store" and "Python" not in str(answer.headers)


def test_only_the_loopback_interface_listens(tmp_path: Path) -> None:
    with served(make_run(tmp_path / "first")) as server:
        assert server.socket.getsockname()[0] == "127.0.0.1"
        with socket.socket() as other, pytest.raises(OSError, match="refused"):
            other.connect(("127.0.0.2", server.server_address[1]))


def test_the_page_keeps_its_policy_and_asks_nobody_but_its_server(tmp_path: Path) -> None:
    run = make_run(tmp_path / "<script>alert(1)<")
    page = LivePage(run).text()
    policy = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert len(policy) == 1 and policy[0].startswith("default-src 'none'; script-src 'sha256-")
    assert "connect-src 'self'; base-uri 'none'" in policy[0] and "unsafe" not in policy[0]
    assert page.count('id="live"') == 1 and "<script>alert" not in page


def test_a_finished_round_brings_another_page(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    record, kept = run.round(2).record, tmp_path / "record"
    record.rename(kept)
    page = LivePage(run)
    before, text = page.status(), page.text()
    assert before.line.startswith("not running; round 1 is finished; go on with: tpt run") and not before.ended
    assert f'data-version="{before.version}"' in text and "round 2" not in text.lower()
    kept.rename(record)
    after, text = page.status(), page.text()
    assert after.version != before.version and "round 1 → round 2" in text and after.ended


def test_a_run_without_problems_yet_has_a_page(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", rounds=0)
    shutil.rmtree(run.round(0).path)
    run.heldout.unlink()
    run.problems.unlink()
    assert "No round is finished yet." in LivePage(run).text()


def test_a_run_that_is_gone_or_damaged_is_a_sentence(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with served(run) as server:
        assert "Round by round" in fetched(server.address)
        run.path.rename(tmp_path / "moved")
        told = status_at(server.address)
        gone = f"{run.path}: the run is gone. If it was moved, end this and watch it where it is now"
        assert told == {"line": gone, "version": "", "ended": False}
        assert gone in fetched(server.address) and "Round by round" in fetched(server.address)
        (tmp_path / "moved").rename(run.path)
        run.round(2).record.write_text("{torn")
        assert "round.json" in status_at(server.address)["line"]
    with served(run) as server, pytest.raises(urllib.error.HTTPError, match="500"):
        fetched(server.address)


def test_no_run_and_no_port(fails: Callable[..., str], tmp_path: Path) -> None:
    assert "not a run directory (no config.toml). Start one with: tpt run" in fails("watch", tmp_path / "none")
    run = make_run(tmp_path / "run")
    with served(run) as server:
        port = str(server.server_address[1])
        said = fails("watch", run.path, "--port", port, code=2)
    assert f"--port {port}: Address already in use. Take another one, or leave --port out" in said


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed")
def test_a_browser_shows_the_line_and_takes_the_new_page(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    record, kept = run.round(2).record, tmp_path / "record"
    record.rename(kept)
    browser = Chromium(tmp_path / "profile")
    try:
        with served(run) as server:
            browser.visit(server.address)
            browser.wait(
                "document.querySelector('#live-line')?.textContent.startsWith('not running; round 1 is finished')"
            )
            kept.rename(record)
            new = "document.documentElement?.dataset.ready && at('live').dataset.version.endsWith('1')"
            browser.wait(new)
            browser.wait("at('live-line').textContent.startsWith('finished: ')")
            assert "round 2" in browser.run("document.querySelector('main').textContent").lower()
            assert browser.log == [] and all(each.startswith(server.address) for each in browser.requests)
            # Who reads a trace is asked first.
            record.rename(kept)
            browser.visit(server.address)
            browser.run("at('browser').scrollIntoView()")
            kept.rename(record)
            browser.wait("!at('live-reload').hidden")
            browser.run("at('live-reload').click()")
            browser.wait(new)
    finally:
        browser.close()
