"""One HTML file a report: its text as HTML, its charts drawn from the data inside, nothing loaded from anywhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from string import Template

from pytest_lem.render.cheapest import cheapest_line
from pytest_lem.render.html.data import page_data
from pytest_lem.render.html.elements import Html, element, text
from pytest_lem.render.html.packing import compressed
from pytest_lem.render.html.sections import (
    environment_section,
    found_section,
    heading,
    missing_section,
    verdicts_section,
)
from pytest_lem.render.html.summary import summary
from pytest_lem.render.reported import Reported
from pytest_lem.render.terminal import names_of

LIBRARY = "vendor/echarts.min.js"
SCRIPTS = ("theme", "table", "data", "chart", "costs", "details", "history", "main")
"""In the order in which they run; the table's needs none of the later ones."""
LICENCES = ("NOTICE", "LICENSE", "LICENSE-parts")
NO_RUN = "No measurement was made."


def report_page(reports: Sequence[Reported]) -> str:
    """The newest of `reports` as a page, with the others as its history. They may come in any order, at least one."""
    ordered = sorted(reports, key=lambda report: report.run.started)
    report = ordered[-1]
    style = _asset("assets/page.css")
    scripts = [_asset("assets/theme.js"), _asset("assets/table.js"), _asset(LIBRARY)]
    scripts += [_asset(f"assets/{name}.js") for name in SCRIPTS[2:]]
    theme, rest = scripts[0], scripts[1:]
    return Template(_asset("assets/page.html")).substitute(
        policy=text(policy([style], scripts)),
        title=text(f"Energy of inference · {report.run.id}"),
        style=style,
        theme=theme,
        heading=heading(report, len(ordered) - 1),
        summary=summary(report.measurements, report.verdicts) if report.measurements else element("p", NO_RUN),
        cheapest=text(cheapest_line(report.measurements)),
        found=found_section(report),
        verdicts=verdicts_section(report.verdicts),
        environment=environment_section(report),
        missing=missing_section(report.missing),
        data=compressed(page_data(ordered, names_of(report.measurements))),
        scripts=Html("\n".join(f"<script>{script}</script>" for script in rest)),
        licences="\n\n".join(_asset(f"vendor/{name}") for name in LICENCES),
    )


def policy(styles: Sequence[str], scripts: Sequence[str]) -> str:
    """A content security policy: these very styles and scripts, and no request to anywhere."""
    return (
        f"default-src 'none'; script-src {_hashes(scripts)}; style-src {_hashes(styles)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hashes(sources: Sequence[str]) -> str:
    digests = (base64.b64encode(hashlib.sha256(source.encode()).digest()).decode() for source in sources)
    return " ".join(f"'sha256-{digest}'" for digest in digests)


def _asset(name: str) -> str:
    return files("pytest_lem.render.html").joinpath(name).read_text(encoding="utf-8")
