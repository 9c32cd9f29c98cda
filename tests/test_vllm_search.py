"""A user looks for how many requests real vLLM should run at once: an option of the engine, a start for each value."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.vllm, pytest.mark.torch]
TEST = """
import pytest

@pytest.mark.lem(backend="vllm", model="synthetic:tiny", batch=8, prompt_tokens=8, output_tokens=16,
                 vllm={"max_model_len": 512, "max_num_seqs": 1, "enforce_eager": True})
@pytest.mark.lem_search(over="vllm.max_num_seqs", values=[1, 8], objective="tokens_per_second")
def test_slots(lem_backend, lem_workload, lem_energy):
    found = lem_energy.search(lem_backend, lem_workload)
    assert found.value == 8
"""


def test_how_many_requests_run_at_once_is_found_and_read_from_the_live_engines(project, monkeypatch):
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    project.write(TEST)
    project.subprocess("--lem-quick", "--lem-round-seconds=0.2").assert_outcomes(passed=1)
    (found,) = project.report()["searches"]
    assert (found["over"], found["best"]) == ("vllm.max_num_seqs", 8)
    assert {point["value"]: point["name"] for point in found["points"]} == {
        1: "vllm.max_num_seqs=1",
        8: "vllm.max_num_seqs=8",
    }
    measured = {one["name"]: one for one in project.report()["measurements"]}
    live = {name: one["engine"]["observed"]["engine"]["max_num_seqs"] for name, one in measured.items()}
    assert live == {"vllm.max_num_seqs=1": 1, "vllm.max_num_seqs=8": 8}
