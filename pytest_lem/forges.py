"""The one comment that a job of CI keeps on its pull request (GitHub) or merge request (GitLab)."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_lem.model.errors import ForgeError, UsageError

PAGE = 100
MOST = 60_000
"""Signs of a comment: GitHub refuses more than 65,536."""
_SECONDS = 30
_CUT = "\n\n… the rest is in the report of the job\n"


@dataclass(frozen=True)
class Thread:
    """The comments below one change: `comments` lists and takes them, `one` is the address of each, before its id."""

    forge: str
    about: str
    key: str
    job: str
    comments: str
    one: str
    change: str
    headers: Mapping[str, str]
    mend: str

    @property
    def marker(self) -> str:
        """What the comment begins with, unseen; one of another job has another."""
        key = "".join(sign if sign.isalnum() or sign in " ./" else "_" for sign in self.key)
        return f"<!-- pytest-lem: {key} -->"


@dataclass(frozen=True)
class Posted:
    """What was done, `posted` or `updated`, and where the comment is."""

    done: str
    about: str
    url: str | None


def thread_here(environment: Mapping[str, str], key: str | None = None) -> Thread:
    """The change whose job this is. Raises UsageError where the environment is that of none."""
    if environment.get("GITLAB_CI") == "true":
        return _gitlab(environment, key)
    if environment.get("GITHUB_ACTIONS") == "true":
        return _github(environment, key)
    raise UsageError("this is no job of GitHub Actions or GitLab CI; the file itself is for you to paste")


def keep(thread: Thread, text: str) -> Posted:
    """Post `text`, or put it in the place of what this job has posted before. Raises ForgeError."""
    body = {"body": _body(thread, text)}
    mine = next((each for each in _comments(thread) if each["body"].startswith(thread.marker)), None)
    if mine is None:
        made = _ask(thread, "POST", thread.comments, body)
    else:
        made = _ask(thread, thread.change, f"{thread.one}/{mine['id']}", body)
    return Posted("updated" if mine else "posted", thread.about, made.get("html_url"))


def _github(environment: Mapping[str, str], key: str | None) -> Thread:
    repository = _told(environment, "GITHUB_REPOSITORY")
    event = Path(_told(environment, "GITHUB_EVENT_PATH"))
    try:
        number = json.loads(event.read_text(encoding="utf-8"))["pull_request"]["number"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError("this job is no pull request's; run it on: pull_request") from None
    token = environment.get("GITHUB_TOKEN") or _told(environment, "GH_TOKEN")
    issues = f"{_told(environment, 'GITHUB_API_URL')}/repos/{repository}/issues"
    return Thread(
        forge="GitHub",
        about=f"pull request {number} of {repository}",
        key=key or f"{environment.get('GITHUB_WORKFLOW', '')}/{environment.get('GITHUB_JOB', '')}",
        job=f"{environment.get('GITHUB_SERVER_URL')}/{repository}/actions/runs/{environment.get('GITHUB_RUN_ID')}",
        comments=f"{issues}/{int(number)}/comments",
        one=f"{issues}/comments",
        change="PATCH",
        headers={"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json"},
        mend="give the job `pull-requests: write`, which a fork's never gets",
    )


def _gitlab(environment: Mapping[str, str], key: str | None) -> Thread:
    number = environment.get("CI_MERGE_REQUEST_IID")
    if not number:
        raise UsageError("this job is no merge request's; run it in merge request pipelines")
    project = environment.get("CI_MERGE_REQUEST_PROJECT_ID") or _told(environment, "CI_PROJECT_ID")
    notes = f"{_told(environment, 'CI_API_V4_URL')}/projects/{project}/merge_requests/{number}/notes"
    return Thread(
        forge="GitLab",
        about=f"merge request {number} of project {project}",
        key=key or environment.get("CI_JOB_NAME", ""),
        job=environment.get("CI_JOB_URL", ""),
        comments=notes,
        one=notes,
        change="PUT",
        headers={"PRIVATE-TOKEN": _told(environment, "GITLAB_TOKEN")},
        mend="give the project's access token in GITLAB_TOKEN the scope `api` and the role Reporter",
    )


def _told(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name)
    if not value:
        raise UsageError(f"{name} is not set in this job; docs/ci.md says what it holds")
    return value


def _body(thread: Thread, text: str) -> str:
    if len(text) > MOST:
        text = text[:MOST].rpartition("\n")[0] + _CUT
    return f"{thread.marker}\n{text.rstrip()}\n\n[The job, with its report]({thread.job})\n"


def _comments(thread: Thread) -> Iterator[dict[str, Any]]:
    page = 1
    while found := _ask(thread, "GET", f"{thread.comments}?per_page={PAGE}&page={page}"):
        yield from found
        if len(found) < PAGE:
            return
        page += 1


def _ask(thread: Thread, method: str, url: str, body: Mapping[str, str] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "pytest-lem", **thread.headers}
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        error.close()
        mend = thread.mend if error.code in (401, 403, 404) else "try it again"
        raise ForgeError(f"{thread.about}: {thread.forge} answered {error.code} {error.reason}; {mend}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise ForgeError(f"{thread.about}: {thread.forge} cannot be reached ({reason}); try it again") from None
