"""A user compares engines: the same test on pytorch and on real vLLM, in one run and one table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = [pytest.mark.slow, pytest.mark.vllm, pytest.mark.torch]
TEST = """
import pytest

@pytest.mark.lem(model="synthetic:tiny", precision="fp32", batch=[1, 4], prompt_tokens=16, output_tokens=8,
                 device="cpu", pytorch={"num_threads": 1},
                 vllm={"enforce_eager": True, "kv_cache_memory_bytes": 1 << 29, "max_model_len": 512})
@pytest.mark.lem_budget(tokens_per_second=1)
def test_decode(lem_backend, lem_workload, lem_energy):
    result = lem_energy.measure(lem_backend, lem_workload)
    assert result.tokens_per_second > 1
"""


@pytest.fixture
def measured(project):
    project.write(TEST)
    result = project.subprocess("--lem-backend=pytorch,vllm", "--lem-quick", "--lem-round-seconds=0.2")
    result.assert_outcomes(passed=4)
    return result, project.report()["measurements"], project.runs()[-1]


def test_both_engines_are_measured_in_one_run_and_compared_in_one_table(measured):
    result, measurements, folder = measured
    asked = [(m["engine"]["requested"]["backend"], m["workload"]["batch"]) for m in measurements]
    assert sorted(asked) == [("pytorch", 1), ("pytorch", 4), ("vllm", 1), ("vllm", 4)]
    for row in ("pytorch-fp32-b1", "pytorch-fp32-b4", "vllm-fp32-b1", "vllm-fp32-b4"):
        result.stdout.fnmatch_lines([f"*{row}*"])
    for measurement in measurements:
        values = {name: metric["value"] for name, metric in measurement["metrics"].items()}
        assert values["tokens_per_second"] > 1
        assert values["ttft_ms"] > 0
        assert values["tpot_ms"] > 0
        assert measurement["engine"]["observed"]["precision"] == "float32"

    of_vllm = [m for m in measurements if m["engine"]["requested"]["backend"] == "vllm"]
    assert len({m["cycles"][0]["launch"] for m in of_vllm}) == 1  # one start serves both batches
    for measurement in of_vllm:
        for each in measurement["cycles"][0]["rounds"]:
            assert each["counters"]["cached_tokens"] == each["counters"]["preemptions"] == 0
            assert each["counters"]["kv_cache_bytes"] == 1 << 29
            assert each["tokens"] == each["passes"] * measurement["workload"]["batch"] * 8
    assert len(list((folder / "logs").glob("*.log"))) == 2


def test_the_example_of_the_documentation_passes_as_written(project):
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "vllm.md").read_text(), re.S)
    project.write(example)
    project.subprocess("--lem-quick", "--lem-max-seconds=20").assert_outcomes(passed=2)
