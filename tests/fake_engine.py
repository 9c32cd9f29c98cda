"""A deterministic engine for tests: decodes by sleeping (or at once), and misbehaves as its options say.

The same file is the adapter that runs in the child (standard library only) and, for tests, `install`, which makes it an
installed third-party distribution. Options:

`token_seconds`     how long a wave, or a request that comes by itself, takes per output token (default 0: at once)
`prompt_seconds`    how long each prompt token takes before the first output token (default 0)
`crowd_seconds`     how much longer an output token takes for each other request that runs with it
`ledger`            a file that takes the joules of each phase of each request under traffic: a line
                    `[begin, end, joules]` each, in seconds of the monotonic clock (for the fake meter)
`prompt_joules`     what a prompt token takes, `token_joules` each output token after a request's first
`slots`             how many requests run at once under traffic; the others queue (default: any number)
`dispatch_seconds`  how long the sending of a request takes, which holds up all that come after it
`traffic`           anything may be asked: waves, lengths, decoding, arrivals, a closed loop (else one greedy batch)
`load_seconds`      how long a load takes
`at`                the step that goes wrong: load, prepare, run, stop
`fault`             what goes wrong there: exit (code 3), kill (SIGKILL), raise, hang, garbage, unknown, late, memory,
                    refuse, orphan (leaves a grandchild that ignores SIGTERM), fork_and_die (exit code 4, while a
                    forked worker holds the pipes open), stray (leaves one in a session of its own), share (holds named
                    shared memory, and hangs)
`fault_after`       the fault comes from this run on (0: the first)
`wrong`             fields of the observed configuration to falsify, {name: value}; an option's name counts too
`missing_tokens`    tokens short per request
`missing_times`     hooked runs tell no token times
`unnamed_times`     under traffic they do not tell whose they are, and when that was due
`queue_times`       under traffic they tell how long a request waited for a slot
`tokenizer`         texts can be given; one token a word
`gpus`              how many GPUs it takes (default 1)
`ranks`             how many processes share it (default 1); they do not talk to each other
`own_gpu`           each rank sees the GPU of its number alone, and logs what it saw when it was imported
`fault_rank`        the rank that misbehaves (default 0)
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

VOCABULARY = 1000
SEEN = os.environ.get("CUDA_VISIBLE_DEVICES")


class Adapter:
    def load(self, request, progress):
        self.clock = ExactClock.install()
        self.options = request["options"]
        self.runs, self.rank = 0, request.get("rank", 0)
        progress("loading nothing")
        say(f"loading {request['model']}")
        if self.options.get("own_gpu"):
            say(f"sees {SEEN}")
        self.misbehave("load")
        time.sleep(self.options.get("load_seconds", 0))
        ours = ("pytest_lem", "pydantic", "pytest")
        observed = {
            "precision": request["precision"],
            "device": request["device"],
            "gpus": list(request["gpus"]),
            "options": dict(self.options),
            "vocab_size": VOCABULARY,
            "parameters": 0,
            "notes": [],
            "environment": {name: os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")},
            "executable": sys.executable,
            "imported": sorted(name for name in ours if name in sys.modules),
            "ranks": [{"rank": rank} for rank in range(request.get("ranks", 1))],
        }
        if "FAKE_VERSION" in os.environ:  # of the environment it lives in, not of what is asked
            observed["versions"] = {"fake": os.environ["FAKE_VERSION"], "cuda": None}
        for name, value in self.options.get("wrong", {}).items():
            place = observed if name in observed else observed["options"]
            place[name] = value
        return observed

    def tokenize(self, texts):
        if not self.options.get("tokenizer"):
            from lem_child.faults import Refused

            raise Refused("prompts: text needs a tokenizer, and the fake engine has none")
        return [[len(word) for word in text.split()] for text in texts]

    def prepare(self, work):
        self.misbehave("prepare")
        self.work, self.requests = work, work["requests"]
        return [len(request["prompt"]) for request in self.requests]

    def arm(self, passes, hooks):
        self.passes, self.hooks = passes, hooks

    def run(self):
        self.began_ns = time.monotonic_ns()
        if self.runs >= self.options.get("fault_after", 0):
            self.misbehave("run")
        self.runs += 1
        if self.work["submission"] == "waves":
            self.times = self.run_waves()
        else:
            self.began = time.monotonic()
            self.times = [each for _ in range(self.passes) for each in self.run_traffic()]

    def run_waves(self):
        """All passes in one sleep; a wave begins when the one before it has ended."""
        now, times = 0.0, []
        for wave in self.work["waves"] * self.passes:
            step = self.step(len(wave))
            prefill = sum(map(self.prefill, wave))
            for length in sorted({self.requests[index]["output_tokens"] for index in wave}):
                alike = [index for index in wave if self.requests[index]["output_tokens"] == length]
                named = {"index": alike[0]} if len(alike) == 1 else {}
                asked = {"due_ms": 1e3 * now, "sent_ms": 1e3 * now, "count": len(alike), **named}
                times.append({"ttft_ms": 1e3 * (prefill + step), "gaps_ms": [1e3 * step] * (length - 1), **asked})
            now += prefill + step * max(self.requests[index]["output_tokens"] for index in wave)
        self.clock.pass_by(now)
        return times

    def run_traffic(self):
        """One pass of requests that are sent one by one, as they are due or as others are answered."""
        begin = time.monotonic()
        together = self.work["concurrency"] or 1
        step, slots = self.step(together), self.options.get("slots") or len(self.requests)
        free, ends, times = [begin] * slots, [begin] * together, []
        for index, request in enumerate(self.requests):
            opened = self.work["submission"] == "open"
            due = begin + request["arrival_s"] if opened else min(ends)
            time.sleep(max(0.0, due - time.monotonic()) + self.options.get("dispatch_seconds", 0))
            sent = time.monotonic()
            taken = max(sent, min(free))
            first = taken + self.prefill(index) + step
            end = first + step * (request["output_tokens"] - 1)
            self.enter(request, taken, first, end)
            free[free.index(min(free))] = end
            if not opened:
                ends[ends.index(min(ends))] = end
            times.append(
                {
                    "index": index,
                    "due_ms": 1e3 * (due - self.began),
                    "sent_ms": 1e3 * (sent - self.began),
                    "ttft_ms": 1e3 * (first - due),
                    **({"queue_ms": 1e3 * (taken - sent)} if self.options.get("queue_times") else {}),
                    "gaps_ms": [1e3 * step] * (request["output_tokens"] - 1),
                    "e2e_ms": 1e3 * (end - due),
                }
            )
        time.sleep(max(0.0, max(free) - time.monotonic()))
        if self.options.get("unnamed_times"):
            times = [{name: times[name] for name in ("ttft_ms", "gaps_ms")} for times in times]
        return times

    def enter(self, request, taken, first, end):
        """What a request takes, as the ledger has it."""
        if self.options.get("ledger"):
            prefill = self.options.get("prompt_joules", 0) * len(request["prompt"])
            decode = self.options.get("token_joules", 0) * (request["output_tokens"] - 1)
            with open(self.options["ledger"], "a") as file:
                file.write(f"{json.dumps([taken, first, prefill])}\n{json.dumps([first, end, decode])}\n")

    def step(self, together):
        return self.options.get("token_seconds", 0) + self.options.get("crowd_seconds", 0) * (together - 1)

    def prefill(self, index):
        return self.options.get("prompt_seconds", 0) * len(self.requests[index]["prompt"])

    def collect(self):
        missing = self.options.get("missing_tokens", 0)
        ids = [
            [(len(request["prompt"]) + step) % VOCABULARY for step in range(request["output_tokens"] - missing)]
            for request in self.requests
        ]
        hooked = self.hooks and not self.options.get("missing_times")
        return {
            "tokens": self.passes * sum(map(len, ids)),
            "token_ids": ids,
            "texts": [" ".join(map(str, row)) for row in ids] if self.options.get("tokenizer") else None,
            "request_times": self.times if hooked else [],
            "ranks": self.told_ranks(self.passes * sum(map(len, ids))),
        }

    def told_ranks(self, tokens):
        """What ranks that talked to each other would have told; nothing of one alone."""
        count = self.options.get("ranks", 1)
        seen = {"device": "cpu", "start_ns": self.began_ns, "end_ns": self.began_ns, "weights_bytes": 1}
        return [{"rank": rank, "tokens": tokens, **seen} for rank in range(count)] if count > 1 else []

    def close(self):
        self.misbehave("stop")

    def misbehave(self, step):
        if self.options.get("at") == step and self.options.get("fault_rank", 0) == self.rank:
            say(f"about to {self.options['fault']} at {step}")
            getattr(self, "do_" + self.options["fault"])()

    def do_exit(self):
        os._exit(3)

    def do_kill(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def do_raise(self):
        raise ValueError("the fake engine was told to fail")

    def do_hang(self):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(3600)

    def do_memory(self):
        raise MemoryError("the fake device is full")

    def do_refuse(self):
        from lem_child.faults import Refused

        raise Refused("the fake engine does not do that")

    def do_garbage(self):
        self.write(b"\xff this is no message\n")

    def do_unknown(self):
        self.write(json.dumps({"type": "gossip", "id": 1}).encode() + b"\n")

    def do_late(self):
        self.write(json.dumps({"type": "done", "id": 0, "value": {}}).encode() + b"\n")

    def do_orphan(self):
        program = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(3600)"
        subprocess.Popen([sys.executable, "-c", program])

    def do_stray(self):
        stray = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"], start_new_session=True)
        say(f"started {stray.pid}")

    def do_share(self):
        from multiprocessing.shared_memory import SharedMemory

        self.shared = SharedMemory(create=True, size=4096)
        say(f"shares {self.shared.name}")
        time.sleep(3600)

    def do_fork_and_die(self):
        if os.fork():
            os._exit(4)
        time.sleep(3600)

    def write(self, data):
        os.write(int(sys.argv[sys.argv.index("--write-fd") + 1]), data)


class ExactClock:
    """Stands where the child's loop looks for `time`: a wave ends when it was to end, however late the machine wakes.

    What a round took, and so its joules, is then known to the nanosecond, also on a machine that is busy.
    """

    sleep = staticmethod(time.sleep)

    @classmethod
    def install(cls):
        from lem_child import loop

        loop.time = clock = cls()
        return clock

    def __init__(self):
        self.told = self.due = None

    def monotonic_ns(self):
        self.told, self.due = self.due or time.monotonic_ns(), None
        return self.told

    def pass_by(self, seconds):
        time.sleep(seconds)
        self.due = self.told + round(1e9 * seconds) if seconds else None  # at once takes what it takes


def say(text):
    sys.stderr.write(f"fake engine: {text}\n")


def install(folder):
    """Make `folder` (to be put on sys.path or PYTHONPATH) hold a distribution that registers the engine `fake`."""
    info = folder / "lem_fake-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lem-fake\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[pytest_lem.engines]\nfake = lem_fake:ENTRY\n")
    (folder / "lem_fake.py").write_text(
        "from pathlib import Path\n"
        "from typing import Any\n"
        "from pydantic import ConfigDict, create_model\n"
        "from pytest_lem.engines.entry import EngineEntry, one_batch\n"
        "Options = create_model('Options', __config__=ConfigDict(extra='forbid'), **{\n"
        "    'token_seconds': (float, 0.0), 'load_seconds': (float, 0.0), 'at': (str | None, None),\n"
        "    'fault': (str, 'raise'), 'fault_after': (int, 0), 'wrong': (dict[str, Any] | None, None),\n"
        "    'missing_tokens': (int, 0), 'missing_times': (bool, False), 'tokenizer': (bool, False),\n"
        "    'unnamed_times': (bool, False), 'queue_times': (bool, False),\n"
        "    'gpus': (int, 1), 'prompt_seconds': (float, 0.0), 'crowd_seconds': (float, 0.0), 'slots': (int, 0),\n"
        "    'ledger': (str | None, None), 'prompt_joules': (float, 0.0), 'token_joules': (float, 0.0),\n"
        "    'dispatch_seconds': (float, 0.0), 'traffic': (bool, False), 'ranks': (int, 1), 'fault_rank': (int, 0),\n"
        "    'own_gpu': (bool, False)})\n"
        "def refuses(options, workload):\n"
        "    return None if options.get('traffic') else one_batch(options, workload)\n"
        f"ENTRY = EngineEntry('fake', Path({__file__!r}), Options, needs='pip install lem-fake',\n"
        "    gpus=lambda options: options.get('gpus', 1), ranks=lambda options: options.get('ranks', 1),\n"
        "    own_gpu=lambda options: options.get('own_gpu', False),\n"
        "    refuses=refuses)\n"
    )
    return folder
