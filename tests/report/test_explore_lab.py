"""explore.ipynb as a person uses it: a real JupyterLab, a real browser, a control moved."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

TOKEN = "only-for-this-test"
START_S = 90
RUN_MS = 120_000


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, root: Path, published_dir: Path) -> Iterator[str]:
    """The address of a JupyterLab over copies of the notebook and the published set."""
    home = tmp_path_factory.mktemp("lab")
    (home / "notebooks").mkdir()
    shutil.copy(root / "notebooks" / "explore.ipynb", home / "notebooks")
    shutil.copytree(published_dir, home / "results" / published_dir.name)
    # Otherwise the first start asks whether to fetch news.
    settings = home / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    quiet = {"fetchNews": "false", "checkForUpdates": False}
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(quiet))
    port = free_port()
    environment = os.environ | {
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "IPYTHONDIR": str(home / "ipython"),
    }
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
        *(f"--ServerApp.root_dir={home}", "--ServerApp.ip=127.0.0.1"),
        *(f"--ServerApp.port={port}", f"--IdentityProvider.token={TOKEN}"),
    ]
    with (home / "lab.log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=home)
        try:
            wait_for(f"http://127.0.0.1:{port}/api?token={TOKEN}", server, home / "lab.log")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.send_signal(signal.SIGTERM)  # it shuts its kernels down first
            server.wait(timeout=30)


def wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    # Of its own and without proxies, whatever else ran in this process.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        assert server.poll() is None, log.read_text()
        try:
            with opener.open(address, timeout=2):
                return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.3)
    pytest.fail(f"JupyterLab did not answer in {START_S} s:\n{log.read_text()[-2000:]}")


@pytest.mark.browser
@pytest.mark.slow
def test_the_explorer_answers_in_jupyterlab(lab: str, browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 1400, "height": 1200})
    page.set_default_timeout(RUN_MS)
    outside: list[str] = []
    page.on("request", lambda one: outside.append(one.url))
    page.goto(f"{lab}/lab/tree/notebooks/explore.ipynb?token={TOKEN}")
    page.locator(".jp-NotebookPanel").first.wait_for()
    # Run All does nothing on a notebook whose kernel is not up yet, and says nothing either.
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    dots = page.locator(".explorer .cloud .mark-symbol.role-mark path")
    dots.first.wait_for()
    expect(page.locator(".answer")).to_contain_text("16 of 192 rows")
    page.get_by_label("640×480", exact=True).check()
    page.get_by_label("1920×1056", exact=True).uncheck()
    page.get_by_label("INT8", exact=True).check()
    page.get_by_label("FP16", exact=True).uncheck()
    expect(page.locator(".answer")).to_contain_text(
        re.compile(
            "Fastest: (fast_scnn_blog|resnet18) in INT8, .*tied with (fast_scnn_blog|resnet18)"
        )
    )
    # Letters typed into it are no shortcuts of the notebook: "dd" deletes a cell.
    cells = page.locator(".jp-Cell").count()
    page.get_by_label("Name has").press_sequentially("add")
    expect(page.locator(".answer")).to_contain_text("0 of 192 rows")
    assert page.locator(".jp-Cell").count() == cells
    page.locator(".jp-OutputArea-output figure img").first.wait_for()  # the last cell's
    assert page.locator('[data-mime-type="application/vnd.jupyter.error"]').count() == 0
    page.close()
    assert [url for url in outside if not url.startswith((lab, "data:", "blob:"))] == []
