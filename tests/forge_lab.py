"""A server on this machine that plays the comments of GitHub and of GitLab, and the environments of their jobs."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

TOKEN = "a-token"
LISTS = re.compile(r"/repos/some/project/issues/7/comments|/api/v4/projects/5/merge_requests/3/notes")
ONE = re.compile(r"/repos/some/project/issues/comments/(\d+)|/api/v4/projects/5/merge_requests/3/notes/(\d+)")


class Forge:
    """The comments of one change, with what was asked of it: `refuse` makes it answer that status."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[str] = []
        self.comments: list[dict[str, Any]] = []
        self.refuse: int | None = None

    def bodies(self) -> list[str]:
        return [each["body"] for each in self.comments]

    def answer(self, method: str, url: str, body: dict[str, str] | None) -> Any:
        self.asked.append(f"{method} {url}")
        path, query = urlsplit(url).path, parse_qs(urlsplit(url).query)
        if LISTS.fullmatch(path) and method == "GET":
            size, page = int(query["per_page"][0]), int(query["page"][0])
            return self.comments[size * (page - 1) : size * page]
        if LISTS.fullmatch(path) and method == "POST":
            self.comments.append({"id": 100 + len(self.comments), "html_url": f"{self.url}/seen", **(body or {})})
            return self.comments[-1]
        found = ONE.fullmatch(path)
        assert found, url
        assert method == ("PATCH" if found[1] else "PUT")
        (one,) = [each for each in self.comments if each["id"] == int(found[1] or found[2])]
        one.update(body or {})
        return one


@contextmanager
def serving() -> Iterator[Forge]:
    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "null")
            known = f"Bearer {TOKEN}" == self.headers.get("Authorization") or self.headers.get("PRIVATE-TOKEN") == TOKEN
            status = forge.refuse or (200 if known else 401)
            answer = forge.answer(self.command, self.path, body) if status == 200 else {"message": "no"}
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        do_GET = do_POST = do_PATCH = do_PUT = handle_any  # noqa: N815 - names of http.server

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    forge = Forge(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield forge
    finally:
        server.shutdown()
        server.server_close()


# Whatever the run of these tests is itself a job of, and whatever proxy it has.
OUTSIDE = {"GITHUB_ACTIONS": "", "GITLAB_CI": "", "CI_MERGE_REQUEST_PROJECT_ID": "", "CI_COMMIT_BRANCH": ""}
OUTSIDE |= dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1")


def github(forge: Forge, folder: Path) -> dict[str, str]:
    """The environment of a job on pull request 7."""
    event = folder / "event.json"
    event.write_text(json.dumps({"pull_request": {"number": 7}}))
    return {
        **OUTSIDE,
        "GITHUB_ACTIONS": "true",
        "GITHUB_API_URL": forge.url,
        "GITHUB_SERVER_URL": "https://github.test",
        "GITHUB_REPOSITORY": "some/project",
        "GITHUB_EVENT_PATH": str(event),
        "GITHUB_RUN_ID": "11",
        "GITHUB_WORKFLOW": "checks",
        "GITHUB_JOB": "energy",
        "GITHUB_TOKEN": TOKEN,
    }


def gitlab(forge: Forge) -> dict[str, str]:
    """The environment of a job on merge request 3."""
    return {
        **OUTSIDE,
        "GITLAB_CI": "true",
        "CI_API_V4_URL": f"{forge.url}/api/v4",
        "CI_PROJECT_ID": "5",
        "CI_MERGE_REQUEST_IID": "3",
        "CI_JOB_NAME": "energy",
        "CI_JOB_URL": "https://gitlab.test/jobs/12",
        "CI_DEFAULT_BRANCH": "main",
        "GITLAB_TOKEN": TOKEN,
    }


@pytest.fixture
def forge() -> Iterator[Forge]:
    with serving() as found:
        yield found
