"""Two measurements can be compared where what they were measured on is the same; else the difference has a name."""

from __future__ import annotations

import pytest
from builders import GPU, a_cycle, a_gpu, a_measurement, a_reading, a_round, a_window, an_engine, an_environment
from fake_pynvml import FakeGpu, fake_pynvml

from pytest_lem.fingerprint import choices, differences, fingerprint
from pytest_lem.meters import nvml
from pytest_lem.model.measurement import EngineRecord
from pytest_lem.model.specs import EngineSpec, ProtocolSpec, WorkloadSpec

OTHER = "GPU-0ther000-1111-2222-3333-444455556666"
VERSIONS = {"vllm": "0.26.0", "torch": "2.8.0", "cuda": None}


def engine(versions=VERSIONS, **changes) -> EngineRecord:
    spec = EngineSpec(**{"backend": "vllm", "model": "synthetic:small", "options": {"enforce_eager": True}} | changes)
    return EngineRecord(requested=spec, observed={"versions": versions} if versions else {})


def of(environment=None, **changes) -> dict[str, str]:
    return fingerprint(a_measurement(**{"engine": engine()} | changes), environment or an_environment())


def on(*gpus, each: int = 1) -> dict[str, str]:
    """The fingerprint of a measurement on these boards, `each` launch on so many of them."""
    uuids = [gpu.uuid for gpu in gpus]
    cycles = tuple(a_cycle(i, gpus=tuple(uuids[i : i + each])) for i in range(0, len(uuids), each))
    return of(an_environment(gpus=gpus), cycles=cycles)


def test_a_measurement_on_a_gpu_is_known_by_its_board_its_engine_and_its_work():
    clocks = {"application": 1755, "max": 1980}
    gpu = a_gpu().replace(clocks_mhz=clocks)
    assert of(an_environment(gpus=[gpu]), workload=WorkloadSpec(batch=8, seed=3, target_qps=2.5)) == {
        "GPU": "NVIDIA H100 80GB HBM3",
        "board": GPU,
        "driver": "570.86.15",
        "power limit": "700 W",
        "clocks": "application 1755 MHz max 1980 MHz",
        "engine": "vllm",
        "vllm": "0.26.0",
        "torch": "2.8.0",
        "model": "synthetic:small",
        "precision": "bfloat16",
        "options": "enforce_eager=True",
        "workload": "batch 8, 128 prompt tokens, 32 output tokens, seed 3, 2.5 requests/s",
        "meter": "nvml (counter)",
        "quick": "no",
    }


def test_two_equal_measurements_have_no_differences():
    assert differences(of(), of()) == []


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (on(a_gpu().replace(driver="575.2")), "driver 570.86.15 then, 575.2 now"),
        (on(a_gpu().replace(power_limit_w=350.0)), "power limit 700 W then, 350 W now"),
        (on(a_gpu().replace(clocks_mhz={"application": 990})), "clocks none then, application 990 MHz now"),
        (of(engine=engine(VERSIONS | {"vllm": "0.33.0"})), "vllm 0.26.0 then, 0.33.0 now"),
        (of(engine=an_engine("vllm")), "vllm 0.26.0 then, none now"),
        (of(engine=engine(backend="pytorch")), "engine vllm then, pytorch now"),
        (of(workload=WorkloadSpec(batch=4)), "workload batch 8, 128 prompt tokens, 32 output tokens then, batch 4, *"),
        (of(protocol=ProtocolSpec(quick=True)), "quick no then, yes now"),
    ],
)
def test_a_difference_is_said_in_words(now, said):
    pytest.LineMatcher(differences(of(), now)).fnmatch_lines([said])


def test_another_board_is_a_difference_unless_any_board_of_the_model_will_do():
    other = on(a_gpu(OTHER))
    assert differences(of(), other) == [f"board {GPU} then, {OTHER} now"]
    assert differences(of(), other, match="model") == []


def test_another_model_of_gpu_is_one_difference_however_boards_are_matched():
    other = on(a_gpu(OTHER).replace(name="NVIDIA H200"))
    for match in ("board", "model"):
        assert differences(of(), other, match=match) == ["GPU NVIDIA H100 80GB HBM3 then, NVIDIA H200 now"]


def test_how_many_gpus_an_engine_had_is_told_from_how_many_a_run_used():
    boards = [a_gpu(f"GPU-{letter}") for letter in "ab"]
    assert on(*boards, each=2)["GPU"] == "2 × NVIDIA H100 80GB HBM3"
    assert on(*boards)["GPU"] == "NVIDIA H100 80GB HBM3"
    assert on(*boards)["board"] == on(*boards, each=2)["board"] == "GPU-a, GPU-b"


def test_what_was_asked_of_the_engine_is_a_choice_and_no_obstacle():
    """A gate is there to say what another precision or option costs."""
    now = of(engine=engine(precision="float16", options={}))
    assert differences(of(), now) == []
    assert choices(of(), now) == [
        "options enforce_eager=True then, none now",
        "precision bfloat16 then, float16 now",
    ]


def test_another_meter_matters_to_joules_alone():
    integral = a_round(1, devices=(a_reading(method="power-integral"),))
    now = of(cycles=(a_cycle(rounds=(integral,)),))
    assert differences(of(), now) == ["meter nvml (counter) then, nvml (power-integral) now"]
    assert differences(of(), now, joules=False) == []


def test_an_engine_on_the_cpu_is_known_by_the_processor_and_by_how_many_shared_it():
    def on_cpu(cpu, lanes=1):
        return of(an_environment(cpu=cpu), cycles=(a_cycle(gpus=(), lanes=lanes),))

    known = on_cpu("EPYC 9554, 8 cores")
    assert (known["CPU"], known["lanes"], "GPU" in known) == ("EPYC 9554, 8 cores", "1", False)
    assert differences(known, on_cpu("EPYC 9554, 4 cores", lanes=2)) == [
        "CPU EPYC 9554, 8 cores then, EPYC 9554, 4 cores now",
        "lanes 1 then, 2 now",
    ]


def test_prompts_of_the_users_own_are_told_apart():
    one, other = (of(workload=WorkloadSpec(prompts=prompts)) for prompts in (("a", "b"), ("a", "c")))
    assert one["workload"].startswith("batch 1, 2 prompts (")
    assert one["workload"] != other["workload"]
    assert one["workload"] == of(workload=WorkloadSpec(prompts=("a", "b")))["workload"]
    assert "prompts (8ed04c90a8ed)" in one["workload"]  # of the prompts alone: a field that is new must change no name


def test_a_window_is_known_by_the_python_and_the_libraries_that_its_code_uses():
    environment = an_environment(packages={"torch": "2.8.0", "pytest": "9.1.1"})
    found = fingerprint(a_window(), environment)
    assert (found["Python"], found["torch"]) == ("3.12.4", "2.8.0")
    assert not {"pytest", "engine", "workload"} & set(found)


def test_a_gpu_that_the_environment_does_not_know_has_its_meters_name():
    found = of(an_environment(gpus=()))
    assert (found["GPU"], found["board"]) == ("NVIDIA H100 80GB HBM3", GPU)
    assert not {"driver", "power limit", "clocks"} & set(found)


@pytest.mark.parametrize(
    ("lacks", "told"),
    [
        (set(), {"application": 1755, "memory": 2619, "max": 1980}),
        ({"nvmlDeviceGetApplicationsClock"}, {"max": 1980}),
        ({"nvmlDeviceGetApplicationsClock", "nvmlDeviceGetMaxClockInfo"}, {}),
    ],
)
def test_the_clocks_of_a_card_are_those_that_it_tells(monkeypatch, lacks, told):
    lib = fake_pynvml(FakeGpu(GPU, lacks=lacks))
    monkeypatch.setattr(nvml, "library", lambda: lib)
    (gpu,) = nvml.gpus()
    assert gpu.clocks_mhz == told
