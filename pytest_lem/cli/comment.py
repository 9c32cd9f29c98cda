"""`lem comment`: verdicts on the pull request that a job of CI belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pytest_lem.cli.output import AsJson, refusing, say, say_json

COMMENT = """\b
Examples:
  pytest benchmarks/ --lem-baseline=main --lem-comment=energy.md
  lem comment energy.md                  one comment, the same after each push
  lem comment energy.md --key h100       where one job has several"""


def comment(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Markdown, as --lem-comment writes it")],
    key: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="tells comments of one change apart", show_default="the workflow and job"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put a file on the pull request of this job, in the place of what the job has put there before.

    For GitHub Actions (GITHUB_TOKEN with pull-requests: write) and GitLab CI (GITLAB_TOKEN with the scope api).
    """
    import os

    with refusing("comment"):
        from pytest_lem.forges import keep, thread_here
        from pytest_lem.model.errors import UsageError

        thread = thread_here(os.environ, key)
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise UsageError(f"{file}: cannot be read: {reason}; pytest --lem-comment={file} writes it") from None
        found = keep(thread, text)
        if as_json:
            say_json(found)
        else:
            say(f"{found.done} on {found.about}" + (f": {found.url}" if found.url else ""))
