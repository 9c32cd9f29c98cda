"""A user compares engines: pytorch and real vLLM, each in an environment of its own, in one run and one table."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = [pytest.mark.slow, pytest.mark.vllm, pytest.mark.torch]
# The example of the documentation, and a test of both engines that one start of vLLM can serve beside it.
(EXAMPLE,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "vllm.md").read_text(), re.S)
TEST = """
import pytest

@pytest.mark.lem(backend=["pytorch", "vllm"], model="synthetic:tiny", batch=[1, 4], prompt_tokens=16, output_tokens=8,
                 pytorch={"num_threads": 1},
                 vllm={"max_model_len": 512, "max_num_seqs": 8, "enforce_eager": True})
@pytest.mark.lem_budget(tokens_per_second=1)
def test_decode(lem_backend, lem_workload, lem_energy):
    result = lem_energy.measure(lem_backend, lem_workload)
    assert result.tokens_per_second > 1
"""


@pytest.fixture(scope="module")
def pool():
    """Half a gibibyte for the KV cache instead of four: vLLM's own variable, as a user would set it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        yield


@pytest.fixture
def elsewhere():
    """The interpreter of another environment, which has torch: the one that `make` made."""
    python = ROOT / ".venv" / "bin" / "python"
    if not python.exists() or python == Path(sys.executable):
        pytest.skip("there is no second environment with torch: `make venv`, and run this by `tox -e vllm`")
    return str(python)


@pytest.fixture
def measured(project, pool, elsewhere):
    project.write(TEST, "test_both")
    project.write(EXAMPLE, "test_example")
    result = project.subprocess("--lem-quick", "--lem-round-seconds=0.2", f"--lem-python=pytorch={elsewhere}")
    result.assert_outcomes(passed=6)
    return result, project.report()["measurements"], project.runs()[-1]


def test_engines_of_two_environments_and_the_documentations_example_in_one_run_with_one_table(measured, elsewhere):
    result, measurements, folder = measured
    interpreters = {m["engine"]["requested"]["backend"]: m["engine"]["observed"]["executable"] for m in measurements}
    assert interpreters == {"pytorch": elsewhere, "vllm": sys.executable}
    both = [m for m in measurements if "test_both" in m["test"]]
    asked = [(m["engine"]["requested"]["backend"], m["workload"]["batch"]) for m in both]
    assert sorted(asked) == [("pytorch", 1), ("pytorch", 4), ("vllm", 1), ("vllm", 4)]
    for row in ("pytorch-bf16-b1", "pytorch-bf16-b4", "vllm-bf16-b1", "vllm-bf16-b4", "vllm-bf16-b8"):
        result.stdout.fnmatch_lines([f"*{row}*"])
    for measurement in measurements:
        values = {name: metric["value"] for name, metric in measurement["metrics"].items()}
        assert values["tokens_per_second"] > 1
        assert values["ttft_ms"] > 0
        assert values["tpot_ms"] > 0
        assert measurement["engine"]["observed"]["precision"] == "bfloat16"
    of_vllm = [m for m in measurements if m["engine"]["requested"]["backend"] == "vllm"]
    assert len(of_vllm) == 4
    assert len({m["cycles"][0]["launch"] for m in of_vllm}) == 1  # one start serves all batches and both tests
    for measurement in of_vllm:
        for each in measurement["cycles"][0]["rounds"]:
            assert each["counters"]["cached_tokens"] == each["counters"]["preemptions"] == 0
            assert each["counters"]["kv_cache_bytes"] == 1 << 30
            work = measurement["workload"]
            assert each["tokens"] == each["passes"] * work["batch"] * work["output_tokens"]
    assert len(list((folder / "logs").glob("*.log"))) == 2
