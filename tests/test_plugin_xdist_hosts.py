"""Lanes by their GPUs, and several hosts: through proxies on this machine, and over a socket."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import fake_pynvml
import pytest
from xdist_campaign import EXPERIMENTS

from pytest_lem.plugin import distribution

pytestmark = pytest.mark.xdist
EVERYTHING = sorted(["test_first", *EXPERIMENTS, "test_last"])
ON_CPU = ("FAKE = {", 'FAKE = {"device": "cpu", ')


@pytest.fixture
def gpus(campaign, monkeypatch):
    """Four made-up GPUs; engines stay on the CPU."""
    site = campaign.path / "site"
    (site / "fake_pynvml.py").write_text(Path(fake_pynvml.__file__).read_text())
    names = ["GPU-a", "GPU-b", "GPU-c", "GPU-d"]
    (site / "pynvml.py").write_text(
        "import sys\nfrom fake_pynvml import FakeGpu, fake_pynvml\n"
        f"sys.modules['pynvml'] = fake_pynvml(*map(FakeGpu, {names}))\n"
    )
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("LEM_LOCKS", str(campaign.path / "locks"))
    test = campaign.path / "test_it.py"
    test.write_text(test.read_text().replace(*ON_CPU))
    return names


def given(campaign):
    """Lane → the GPUs that its worker saw."""
    return {lane: gpus for _, lane, _, gpus, _ in campaign.ran()}


def test_auto_is_one_worker_a_gpu_and_each_sees_its_own(campaign, gpus):
    campaign.run("-nauto", "--lem-cycles=1").assert_outcomes(passed=6)
    seen = given(campaign)
    assert seen.items() <= {"0": "GPU-a", "1": "GPU-b", "2": "GPU-c", "3": "GPU-d"}.items()
    assert {lanes for _, _, lanes, _, _ in campaign.ran()} == {"2"}, "two engines have work for two of the four lanes"


@pytest.mark.parametrize("look", ["--collect-only", "--lem-explain"])
def test_who_only_looks_at_the_tests_looks_for_no_gpu_with_auto_either(campaign, look):
    module = "from pathlib import Path\ndef nvmlInit():\n    Path('touched').touch()\n    raise AssertionError\n"
    (campaign.path / "site" / "pynvml.py").write_text(module)
    result = campaign.project.subprocess("-nauto", look, "--lem-gpus=0")
    assert (result.ret, "fake-bf16-b8-c1" in result.stdout.str()) == (0, True)
    assert not (campaign.path / "touched").exists()


def test_a_lane_may_own_several_of_the_gpus_that_are_left_to_the_run(campaign, gpus, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,2,1,GPU-a")
    result = campaign.run("-nauto", "--lem-gpus-per-worker=2")
    result.assert_outcomes(passed=10)
    result.stdout.fnmatch_lines(["2 workers [[]10 items]"])  # none that would have no lane
    assert given(campaign) == {"0": "GPU-d,GPU-c", "1": "GPU-b,GPU-a"}


OPENS_CUDA = """
import sys
from types import ModuleType, SimpleNamespace

note("seen.txt", os.environ.get("PYTEST_XDIST_WORKER"), os.environ.get("CUDA_VISIBLE_DEVICES"))
sys.modules["torch"] = torch = ModuleType("torch")  # this conftest imports it, and asks it for its GPUs or does not
torch.cuda = SimpleNamespace(is_initialized=lambda: {opened})
torch.Tensor = type("Tensor", (), {{}})
"""


@pytest.mark.parametrize("opened", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_conftest_that_opens_cuda_at_import_sees_the_gpus_of_all_lanes_and_is_warned(
    campaign, gpus, monkeypatch, opened
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    conftest = campaign.path / "conftest.py"
    conftest.write_text(conftest.read_text() + OPENS_CUDA.format(opened=opened))
    result = campaign.run("-n2", "--lem-cycles=1")
    assert given(campaign) == {"0": "GPU-c", "1": "GPU-d"}
    assert set((campaign.path / "seen.txt").read_text().split("\n")) >= {"gw0 2,3", "gw1 2,3"}
    warned = "lem: torch has opened CUDA in a worker before it knew its lane" in result.stdout.str()
    assert (warned, result.ret) == (opened, 0)


def test_lanes_are_made_of_the_gpus_that_the_run_is_restricted_to(campaign, gpus):
    campaign.run("-nauto", "--lem-gpus=1,GPU-d").assert_outcomes(passed=10)
    assert given(campaign) == {"0": "GPU-b", "1": "GPU-d"}
    assert [gpu["uuid"] for gpu in campaign.project.report()["environment"]["gpus"]] == ["GPU-b", "GPU-d"]


def test_a_replacement_gets_the_gpu_of_the_worker_that_died(campaign, gpus):
    campaign.die("test_decode[fake-fp16-b1-c1]", "call", "kill")
    campaign.run("-nauto", "--lem-lanes=2")
    by_worker = {(worker, lane, gpus) for worker, lane, _, gpus, _ in campaign.ran()}
    assert {(lane, gpus) for _, lane, gpus in by_worker} == {("0", "GPU-a"), ("1", "GPU-b")}
    assert len({worker for worker, *_ in by_worker}) == 3


def test_a_lane_of_more_gpus_than_there_are_is_refused_in_one_line(campaign, gpus):
    result = campaign.run("-nauto", "--lem-gpus-per-worker=5")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --lem-gpus-per-worker=5: 4 GPU(s) visible here*; ask for at most 4"])


def test_a_number_of_workers_asked_for_by_hand_is_refused_so_too(campaign, gpus):
    result = campaign.run("-n2", "--lem-gpus-per-worker=5")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --lem-gpus-per-worker=5: 4 GPU(s) visible here*"])


def test_proxies_on_this_machine_share_its_lanes(campaign):
    hosts = ("--px=id=h1//popen//execmodel=thread", "--px=id=h2//popen//execmodel=thread")
    workers = ("--tx=popen//via=h1", "--tx=2*popen//via=h2")
    campaign.run(*hosts, *workers, "--dist=load", "--lem-lanes=2").assert_outcomes(passed=10)
    assert sorted(campaign.names()) == EVERYTHING
    measured = {(worker, lane, lanes) for worker, lane, lanes, _, name in campaign.ran() if name in EXPERIMENTS}
    assert sorted(place for _, *place in measured) == [["0", "2"], ["1", "2"]]  # the third worker is one too many


@pytest.mark.parametrize(
    ("spec", "slots"),
    [
        ("popen", {"lem_slot": 0, "lem_workers": 3}),
        ("socket=localhost:8888", {"lem_slot": 0, "lem_workers": 3}),
        ("popen//via=p1", {"lem_slot": 0, "lem_workers": 3}),
        ("ssh=user@h1", {"lem_slot": 0, "lem_workers": 1}),
    ],
)
def test_whatever_reaches_this_machine_counts_among_its_workers(monkeypatch, spec, slots):
    execnet = pytest.importorskip("execnet")
    monkeypatch.setattr(distribution, "ask", lambda gateway: None)
    known = ("popen", "socket=localhost:8888", "popen//via=p1", "ssh=user@h1")
    config = SimpleNamespace(
        getvalue=lambda name: "load", getoption=lambda name: ["id=p1//socket=127.0.0.1:8889//execmodel=thread"]
    )
    channel = SimpleNamespace(setcallback=lambda heard: None)
    node = SimpleNamespace(
        gateway=SimpleNamespace(id="gw0", spec=execnet.XSpec(spec), newchannel=lambda: channel),
        nodemanager=SimpleNamespace(specs=[execnet.XSpec(one) for one in known]),
        workerinput={},
    )
    distribution.Distribution(config).pytest_configure_node(node)
    assert node.workerinput == slots | {"lem_engines": channel}


@pytest.mark.parametrize(
    ("proxy", "host"),
    [
        ("popen", ""),
        ("ssh=localhost", ""),
        ("ssh=user@localhost", ""),
        ("ssh=user@127.0.0.1", ""),
        ("ssh=-p 2222 localhost", ""),
        ("ssh=-p 2222 user@::1", ""),
        ("socket=localhost:8888", ""),
        ("socket=[::1]:8888", ""),
        ("socket=::1:8888", ""),
        ("ssh=user@h1", "h1"),
        ("ssh=-p 2222 -i key h1", "h1"),
        ("socket=h1:8888", "h1"),
        ("socket=[fe80::1]:8888", "fe80::1"),
        ("vagrant_ssh=default", "default"),
    ],
)
def test_lanes_are_shared_by_all_that_reach_one_host_as_whichever_user_and_by_whichever_port(monkeypatch, proxy, host):
    execnet = pytest.importorskip("execnet")
    monkeypatch.setattr(distribution, "ask", lambda gateway: None)
    specs = [execnet.XSpec(one) for one in ("popen", "ssh=h1", "ssh=fe80::1", "ssh=default", "popen//via=proxy")]
    config = SimpleNamespace(getvalue=lambda name: "load", getoption=lambda name: [f"id=proxy//{proxy}"])
    lanes = distribution.Distribution(config)
    channel = SimpleNamespace(setcallback=lambda heard: None)
    numbers = {}
    for number, spec in enumerate(specs):
        gateway = SimpleNamespace(id=f"gw{number}", spec=spec, newchannel=lambda: channel)
        node = SimpleNamespace(gateway=gateway, nodemanager=SimpleNamespace(specs=specs), workerinput={})
        lanes.pytest_configure_node(node)
        numbers[str(spec)] = (node.workerinput["lem_slot"], node.workerinput["lem_workers"])
    shared = {"": "popen", "h1": "ssh=h1", "fe80::1": "ssh=fe80::1", "default": "ssh=default"}[host]
    assert {spec for spec, (_, workers) in numbers.items() if workers == 2} == {shared, "popen//via=proxy"}
    assert numbers["popen//via=proxy"] == (1, 2)


@pytest.fixture
def other_host(campaign):
    """An execnet server at an address that is not this machine's usual one; gives the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.2", 0))
        address = f"127.0.0.2:{free.getsockname()[1]}"
    command = [sys.executable, "-u", "-m", "execnet.script.socketserver", address]
    with subprocess.Popen(command, cwd=campaign.path, stdout=subprocess.PIPE, text=True) as server:
        assert "Entering Accept loop" in server.stdout.readline()
        yield address
        server.kill()


def test_another_host_adds_its_lanes_behind_a_socket(campaign, other_host):
    proxy = f"--px=id=other//socket={other_host}//execmodel=thread"
    result = campaign.run("--tx=popen", proxy, "--tx=2*popen//via=other", "--dist=load")
    result.assert_outcomes(passed=10)
    assert sorted(campaign.names()) == EVERYTHING
    measured = {worker for worker, _, _, _, name in campaign.ran() if name in EXPERIMENTS}
    assert {worker for worker, lane, *_ in campaign.ran() if lane == "0"} == measured
    assert len(measured) == 2  # one lane here, one there: neither has a GPU; the third worker is one too many
    assert campaign.engine_starts() == 4


def test_a_host_without_pytest_lem_measures_nothing():
    from pytest_lem.plugin.distribution import ask

    class Channel:
        RemoteError, TimeoutError = type("RemoteError", (Exception,), {}), type("TimeoutError", (Exception,), {})

        def receive(self, timeout):
            raise self.RemoteError("No module named pytest_lem")

    class Gateway:
        def remote_exec(self, source):
            return Channel()

    assert ask(Gateway()) is None
