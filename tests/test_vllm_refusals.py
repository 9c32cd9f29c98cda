"""What real vLLM cannot do is told before it starts where that can be known, and in its own words where not."""

from __future__ import annotations

import psutil
import pytest
from engine_starts import is_gone
from vllm_starts import vllm

from pytest_lem.engines.process import EngineProcess
from pytest_lem.model.errors import EngineError

pytestmark = [pytest.mark.slow, pytest.mark.vllm]


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """The error of a start that fails, and the progress before it; no process may be left."""
    started = []
    start = EngineProcess.__init__
    monkeypatch.setattr(EngineProcess, "__init__", lambda self, *given: start(self, *given) or started.append(self.pid))

    def refused(**options) -> tuple[EngineError, list[str]]:
        children = {child.pid for child in psutil.Process().children(recursive=True)}
        progress: list[str] = []
        with pytest.raises(EngineError) as caught, vllm(tmp_path, on_progress=progress.append, **options):
            pass
        assert all(is_gone(pid) for pid in started)
        assert {child.pid for child in psutil.Process().children(recursive=True)} <= children
        return caught.value, progress

    return refused


def test_an_unknown_option_is_told_with_the_nearest_before_vllm_is_imported(refused):
    error, progress = refused(max_num_seq=4)
    assert "engine 'vllm': vllm: unknown option 'max_num_seq'; did you mean 'max_num_seqs'? (vllm 0." in str(error)
    assert error.kind == "usage"
    assert progress == []


def test_an_unknown_quantization_is_told_with_what_there_is_before_vllm_is_imported(refused):
    error, progress = refused(quantization="gptk")
    assert "did you mean 'gptq'? vllm 0." in str(error)
    assert error.kind == "usage"
    assert progress == []


def test_a_context_that_the_kv_pool_cannot_hold_is_a_lack_of_memory_in_vllms_own_words(refused):
    error, progress = refused(kv_cache_memory_bytes=1 << 20, max_model_len=131072)
    assert error.kind == "memory"
    assert "model 'synthetic:tiny' in bfloat16 does not fit into the machine's memory" in str(error)
    assert "KV cache is needed" in str(error)
    assert "\n" not in str(error)
    assert progress[0] == "importing vllm"
