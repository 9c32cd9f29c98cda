"""The options, their ini twins, and what they come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

MARKERS = (
    "lem(model, backend, precision, batch, prompt_tokens, output_tokens, ...): what the lem fixtures run; a list makes "
    "one test each. A section named after an engine holds its own options.",
    "lem_emptied: set by pytest-lem on a test that the options left nothing to run.",
    "lem_experiment: set by pytest-lem on one of a list of experiments: what it says of the protocol.",
    "lem_budget(metric=limit, ..., name=None): fail the test when a metric breaks its limit.",
    "lem_search(over, objective='joules_per_token', slo={}, values=None, latency='tpot_p99_ms'): what "
    "lem_energy.search looks for: the best setting of a workload's field that keeps the bounds.",
    "lem_gate(metric, threshold=0.05, direction=None, name=None): with a baseline, fail when the metric gets worse.",
)
PROJECT_FILE = "lem.yaml"
EXPERIMENT_FILES = ".lem.yaml"
SAID: pytest.StashKey[Mapping[str, str]] = pytest.StashKey()
"""Which options a campaign's file has set, by name, and where it says so."""


@dataclass(frozen=True)
class Option:
    """One option: `kind` is `list` (commas), `text`, `number`, `count` or `flag`; lists and texts have ini twins."""

    flag: str
    kind: str
    metavar: str
    help: str

    @property
    def dest(self) -> str:
        """The attribute of `config.option`, and the name of the ini twin."""
        return self.flag.removeprefix("--").replace("-", "_")


OPTIONS = (
    Option("--lem-backend", "list", "NAME,…", "engines to run; restricts what markers list (default: pytorch)"),
    Option(
        "--lem-model",
        "list",
        "MODEL,…",
        "synthetic:NAME, a local folder or a hub name; replaces a marker's model, restricts a list",
    ),
    Option("--lem-precision", "list", "P,…", "float32, float16, bfloat16 (fp32, fp16, bf16); restricts the markers"),
    Option("--lem-batch", "list", "N,…", "batch sizes; restricts the markers"),
    Option("--lem-python", "list", "ENGINE=PATH,…", "the interpreter that holds an engine"),
    Option(
        "--lem-meter", "list", "NAME,…", "meters: auto (every one that works), nvml, rapl, codecarbon, or a plugin's"
    ),
    Option("--lem-budget", "list", "METRIC:LIMIT,…", "a budget for every lem test, joules_per_token:0.5"),
    Option("--lem-baseline", "text", "NAME|FILE", "compare with the runs of this baseline: one gate each experiment"),
    Option("--lem-save", "text", "NAME", "add this run to the baseline NAME"),
    Option("--lem-fail-on", "list", "METRIC:PERCENT,…", "what gates watch (default: joules_per_token:5%)"),
    Option("--lem-match", "text", "board|model", "compare runs of the same board (default), or of any of its model"),
    Option("--lem-missing-baseline", "text", "skip|fail", "a gate without a baseline is skipped (default), or fails"),
    Option("--lem-inconclusive", "text", "warn|fail", "a gate that cannot tell passes with a warning, or fails"),
    Option("--lem-duel", "text", "SIDE", "settle it side by side with git:REF, python:PATH or spec:KEY=VALUE,…"),
    Option("--lem-duel-setup", "text", "COMMAND", "builds the environment of git:REF in its worktree"),
    Option("--lem-comment", "text", "FILE", "write the verdicts as Markdown, ready for a pull request"),
    Option("--lem-tariff", "text", "PRICE", "price of a kWh, such as 0.30EUR: money per million tokens"),
    Option("--lem-cycles", "count", "N", "measure each experiment N times, each time on a fresh engine (default: 1)"),
    Option("--lem-rounds", "count", "N", "exactly N valid rounds (default: 8 to 30, until they are precise)"),
    Option("--lem-round-seconds", "number", "S", "length of a round (default: 4)"),
    Option("--lem-max-seconds", "number", "S", "stop measuring a test after S seconds, warm-up included"),
    Option("--lem-order", "text", "ORDER", "which engine comes when: grouped (default), interleaved, shuffled, latin"),
    Option("--lem-seed", "count", "N", "the seed of --lem-order=shuffled (default: 0)"),
    Option("--lem-gpus-per-worker", "count", "K", "GPUs that each of xdist's workers measures on (default: 1)"),
    Option("--lem-lanes", "count", "N", "at most N of a host's workers measure at one time; 1 keeps the host quiet"),
    Option("--lem-shard", "text", "I/N", "run the I-th of N parts of the experiments; plain tests run in each"),
    Option("--lem-gpus", "list", "GPU,…", "measure on these of the visible GPUs only: index, UUID or its beginning"),
    Option("--lem-gap", "text", "S|cool|cool:CAP", "wait between engines: seconds, or until the GPUs are cool again"),
    Option("--lem-quick", "flag", "", "a first look: 4 rounds of 1 s, short warm-up; marked so, joules not gateable"),
    Option("--lem-explain", "flag", "", "show each experiment's values and where each comes from; run nothing"),
    Option("--lem-demo", "flag", "", "run the built-in benchmark of a tiny model: a first table in under a minute"),
    Option("--lem-carbon", "text", "ISO3|GRAMS", "carbon intensity: a country (needs codecarbon) or grams CO2 a kWh"),
    Option("--lem-flops", "text", "METHOD", "who says FLOPs: analytic (default; costs nothing), counted, calflops"),
    Option("--lem-telemetry", "text", "HZ|off", "how often GPUs are asked how they are used (default: 20 a second)"),
    Option("--lem-resume", "flag", "", "continue the newest run: what it has measured is not measured again"),
    Option("--lem-resume-run", "text", "RUN", "continue this run"),
    Option("--lem-retry-failed", "flag", "", "continue, and try again what could not be measured"),
    Option("--lem-max-engine-failures", "count", "N", "measure no more after N engines failed in a row (default: 3)"),
    Option("--lem-results", "text", "DIR", "where runs are kept (default: .lem)"),
    Option("--lem-json", "text", "FILE", "write a copy of report.json to FILE"),
    Option("--lem-html", "text", "FILE", "write the report as a page to FILE: tables and charts, all in one file"),
    Option("--lem-markdown", "text", "FILE", "write the summary as Markdown to FILE; a step on GitHub shows it anyway"),
)
_BY_DEST = {option.dest: option for option in OPTIONS}
_TYPES = {"number": float, "count": int}


def add(parser: pytest.Parser) -> None:
    """Register every option, and its ini twin unless it is a flag."""
    group = parser.getgroup("lem", "pytest-lem: energy of LLM inference")
    for option in OPTIONS:
        # argparse expands % in the help of an option, pytest's ini does not.
        told = option.help.replace("%", "%%")
        if option.kind == "flag":
            group.addoption(option.flag, dest=option.dest, action="store_true", default=None, help=told)
            continue
        many = option.kind == "list"
        kind: Any = _TYPES.get(option.kind, str)
        group.addoption(
            option.flag,
            dest=option.dest,
            action="append" if many else "store",
            type=kind,
            metavar=option.metavar,
            default=None,
            help=told,
        )
        if many:
            parser.addini(option.dest, option.help, type="args", default=[])
        else:
            parser.addini(option.dest, option.help, type="string", default="")


def command(config: pytest.Config, name: str) -> Any:
    """What the command line says for `lem_<name>`: a list, a scalar, True, or None where it is silent."""
    option = _BY_DEST[f"lem_{name}"]
    value = config.getoption(option.dest)
    return split(value) or None if option.kind == "list" else value


def setting(config: pytest.Config, name: str) -> Any:
    """What the project's ini says for `lem_<name>`, or None. Raises pytest.UsageError for a number that is none."""
    option = _BY_DEST[f"lem_{name}"]
    value = config.getini(option.dest)
    if option.kind == "list":
        return split(value) or None
    if not value:
        return None
    try:
        return _TYPES.get(option.kind, str)(value)
    except ValueError:
        raise pytest.UsageError(f"ini value {option.dest}: expected a {option.kind}, got {value!r}") from None


def value(config: pytest.Config, name: str) -> Any:
    """The command line's word, else the ini's, else None."""
    asked = command(config, name)
    return setting(config, name) if asked is None else asked


def quick(config: pytest.Config) -> bool:
    """Whether this run is a first look: `--lem-quick`, or the demo."""
    return bool(config.getoption("lem_quick") or config.getoption("lem_demo"))


def retry_failed(config: pytest.Config) -> bool:
    """Whether what could not be measured is tried again."""
    return bool(config.getoption("lem_retry_failed"))


def results(config: pytest.Config) -> Path:
    """The folder of all runs; a relative one stands under pytest's root."""
    asked = command(config, "results")
    base = config.invocation_params.dir if asked else config.rootpath
    return Path(base, asked or setting(config, "results") or ".lem")


def pythons(config: pytest.Config) -> dict[str, str]:
    """Engine → interpreter. Raises UsageError for anything but ENGINE=PATH."""
    from pytest_lem.model.errors import UsageError

    found = {}
    for pair in value(config, "python") or []:
        engine, equals, path = pair.partition("=")
        if not equals or not engine or not Path(path).expanduser().is_file():
            raise UsageError(f"--lem-python={pair}: expected ENGINE=PATH with the path of a python interpreter")
        found[engine] = str(Path(path).expanduser().absolute())
    return found


def asked(config: pytest.Config) -> bool:
    """Whether any lem option or ini value is set, or the project has a file of its own for them."""
    told = any(config.getoption(o.dest) is not None or (o.kind != "flag" and config.getini(o.dest)) for o in OPTIONS)
    return told or (config.rootpath / PROJECT_FILE).is_file()


def check(config: pytest.Config) -> None:
    """Refuse at once what no test could run: one line that names the option. Touches no GPU."""
    if config.getoption("lem_demo"):
        _point_to_demo(config)
    if any(arg.endswith(EXPERIMENT_FILES) for arg in config.args):
        from pytest_lem.plugin.campaign_files import unfold

        unfold(config)
    if not asked(config):
        return
    from pytest_lem.model.errors import LemError
    from pytest_lem.plugin.check import check_options

    try:
        check_options(config)
    except LemError as error:
        raise pytest.UsageError(str(error)) from None


def split(values: list[str] | None) -> list[str]:
    """The entries of a `list` option, however many of them stood in one word."""
    return [part.strip() for value in values or [] for part in value.split(",") if part.strip()]


def _point_to_demo(config: pytest.Config) -> None:
    if config.args_source == pytest.Config.ArgsSource.ARGS:
        raise pytest.UsageError("--lem-demo runs its own benchmark: leave the paths out")
    config.args = [str(Path(__file__).parent / "demo" / "test_demo.py")]
    config.option.markexpr = config.option.keyword = ""  # a project's own selection is not about the demo
