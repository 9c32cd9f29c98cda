"""The parts of the page that are text: what was judged, what was found, where it ran, what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pytest_lem.model.environment import Checkout, Environment, Gpu
from pytest_lem.model.measurement import Measurement
from pytest_lem.model.reading import MeterRecord
from pytest_lem.model.verdict import Verdict
from pytest_lem.render.found import found_lines
from pytest_lem.render.html.elements import Html, element, facts, joined, scroller
from pytest_lem.render.html.summary import verdict_word
from pytest_lem.render.judged import WORSE
from pytest_lem.render.reported import Reported, RunFacts
from pytest_lem.render.verdicts import HEAD, cells

NO_VERDICTS = "Nothing was judged: no budget (--lem-budget) and no gate (--lem-baseline) was asked for."


def verdicts_section(verdicts: Sequence[Verdict]) -> Html:
    """A table of gates, a table of budgets; those that did not pass come first."""
    ranked = sorted(verdicts, key=lambda verdict: WORSE.index(verdict.status))
    gates, budgets = ([each for each in ranked if each.kind == kind] for kind in ("gate", "budget"))
    parts = [_table("gates", ("status", *HEAD, "in words"), [_gate(each) for each in gates])] if gates else []
    if budgets:
        heads = ("status", "test", "metric", "in words")
        parts.append(_table("budgets", heads, [_budget(each) for each in budgets]))
    return joined(parts or [element("p", NO_VERDICTS)])


def _gate(verdict: Verdict) -> list[str | Html]:
    return [verdict_word(verdict.status), *cells(verdict), verdict.line]


def _budget(verdict: Verdict) -> list[str | Html]:
    name = f" · {verdict.name}" if verdict.name else ""
    return [verdict_word(verdict.status), verdict.test.rpartition("::")[2] + name, verdict.metric, verdict.line]


def _table(label: str, heads: Sequence[str], rows: Sequence[Sequence[str | Html]]) -> Html:
    caption = element("caption", element("b", f"{len(rows)} {label if len(rows) > 1 else label[:-1]}"))
    head = element("thead", element("tr", *(element("th", each, scope="col", class_="word") for each in heads)))
    body = element("tbody", *(element("tr", *(element("td", each, class_="word") for each in row)) for row in rows))
    return scroller(label, element("table", caption, head, body))


def found_section(report: Reported) -> Html:
    """A line each search, a line each split into prefill and decode."""
    lines = found_lines(report.searches, report.phases)
    return element("ul", *(element("li", line) for line in lines)) if lines else Html()


def environment_section(report: Reported) -> Html:
    """The host, its GPUs, the meters, the versions, and how the run was asked for."""
    host = report.environment
    pairs: list[tuple[str, str | Html]] = [("host", host.host), ("CPU", host.cpu or "not told")]
    pairs += [(f"GPU {place}", _gpu(gpu)) for place, gpu in enumerate(host.gpus)] or [("GPU", "none seen")]
    pairs += [("commit", _commit(host.git))] if host.git else []
    pairs += [("system", host.platform), ("Python", host.python), ("packages", _packages(host))]
    pairs += [(f"meter {record.name}", _meter(record)) for record in _meters(report.measurements)]
    pairs += [("asked for", asked) for asked in _asked(report.run)]
    return facts(pairs)


def _gpu(gpu: Gpu) -> str:
    clocks = ", ".join(f"{name} {mhz} MHz" for name, mhz in gpu.clocks_mhz.items())
    limit = f"limit {gpu.power_limit_w:g} W" if gpu.power_limit_w is not None else ""
    driver = f"driver {gpu.driver}" if gpu.driver else ""
    return " · ".join(filter(None, (gpu.name, driver, limit, clocks, gpu.uuid)))


def _commit(git: Checkout) -> str:
    branch = f" on {git.branch}" if git.branch else ""
    return f"{git.commit}{branch}{', with changes' if git.changed else ''}"


def _packages(host: Environment) -> str:
    return ", ".join(f"{name} {version}" for name, version in host.packages.items())


def _meters(measurements: Sequence[Measurement]) -> list[MeterRecord]:
    records = {record.name: record for each in measurements for record in each.meters}
    return sorted(records.values(), key=lambda record: not record.used)


def _meter(record: MeterRecord) -> str:
    if not record.used:
        return f"not used: {record.reason or 'no reason was recorded'}"
    devices = ", ".join(device.name or device.id for device in record.devices)
    return f"{record.source}: {devices}" if devices else str(record.source)


def _asked(run: RunFacts) -> list[str]:
    found = []
    for place, given in run.options.items():
        if isinstance(given, dict) and given:
            told = " ".join(f"{name}={_value(value)}" for name, value in given.items())
            found.append(f"{place}: {told}")
    return found


def _value(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def missing_section(missing: Sequence[str]) -> Html:
    """What has no result, and why; nothing where all is there."""
    if not missing:
        return Html()
    heading = element("h2", f"{len(missing)} missing", id="missing")
    lines = element("ul", *(element("li", line) for line in missing))
    return element("section", heading, lines, aria_labelledby="missing")


def heading(report: Reported, earlier: int) -> Html:
    """Which run, when, where, and what a reader has to know before any number."""
    run = report.run
    boards = list(dict.fromkeys(gpu.name for gpu in report.environment.gpus)) or [report.environment.cpu or "no GPU"]
    tags = [tag for tag, said in (("QUICK: a first look", run.quick), ("incomplete", not run.complete)) if said]
    told = [f"run {run.id}", _time(run.started), report.environment.host, ", ".join(boards)]
    told += [f"with {earlier} earlier run{'s' * (earlier > 1)}"] if earlier else []
    line = element("p", " · ".join(told), class_="run")
    return joined([line, *(element("p", tag, class_="tag") for tag in tags)])


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
