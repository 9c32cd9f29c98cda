"""From what is asked to every request of a pass."""

from __future__ import annotations

import json
from itertools import count
from statistics import stdev
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_lem.model.decoding import DecodingSpec
from pytest_lem.model.errors import UsageError
from pytest_lem.model.lengths import Lengths
from pytest_lem.model.presets import PRESETS
from pytest_lem.model.specs import WorkloadSpec
from pytest_lem.workloads import generators
from pytest_lem.workloads.lengths import build_lengths
from pytest_lem.workloads.work import Request, build_work, check_workload

VOCABULARY = 1000


def words(texts):
    """A tokenizer that makes one token a word: its length."""
    return [[len(word) for word in text.split()] for text in texts]


def work(**asked):
    return build_work(WorkloadSpec(**asked), VOCABULARY, words)


def lengths(made):
    return [(len(request.prompt), request.output_tokens) for request in made.requests]


def refused(**asked) -> str:
    with pytest.raises(UsageError) as caught:
        work(**asked)
    return str(caught.value)


@pytest.fixture
def written(tmp_path, monkeypatch):
    """A writer of files in the folder where the tests are run."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, *rows: object) -> str:
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (tmp_path / name).write_text("\n".join(lines) + "\n" if lines else "")
        return name

    return write


def test_one_batch_is_one_group():
    made = work(batch=3, prompt_tokens=4, output_tokens=2)
    assert (made.submission, made.waves, lengths(made)) == ("waves", ((0, 1, 2),), [(4, 2)] * 3)


def test_more_requests_than_a_batch_holds_come_in_groups_and_padding_is_told():
    asked = {"batch": 2, "prompts": ("a b c", "a", "a b c", "a b"), "requests": 4}
    made = work(**asked, batching="sorted_static")
    assert made.waves == ((0, 2), (3, 1))
    assert (made.notes["padding_tokens"], made.notes["groups"]) == (1, 2)
    assert work(**asked).notes["padding_tokens"] == 2 + 1


def test_lengths_come_from_their_distribution_and_are_the_same_again():
    made = work(requests=4000, batch=4000, prompt_tokens="uniform(8, 12)", output_tokens="lognormal(100, 50)")
    prompts, outputs = zip(*lengths(made), strict=True)
    assert set(prompts) == {8, 9, 10, 11, 12}
    assert sum(outputs) / 4000 == pytest.approx(100, rel=0.03)
    assert lengths(made) == lengths(
        work(requests=4000, batch=4000, prompt_tokens="uniform(8,12)", output_tokens="lognormal(100,50)")
    )


def test_a_histogram_gives_its_lengths_by_their_weights():
    found = build_lengths(Lengths(distribution="histogram", histogram={16: 3.0, 64: 1.0}), 8000, "x", "prompt_tokens")
    assert set(found) == {16, 64}
    assert found.count(16) / 8000 == pytest.approx(0.75, abs=0.02)


@given(st.integers(20, 500), st.floats(0.01, 0.6), st.integers(0, 1000))
def test_a_normal_and_a_lognormal_length_have_the_mean_that_was_asked_for(mean, share, seed):
    for kind in ("normal", "lognormal"):
        asked = Lengths(distribution=kind, mean=mean, std=share * mean / 3)
        found = build_lengths(asked, 2000, str(seed), "prompt_tokens")
        assert sum(found) / 2000 == pytest.approx(mean, rel=5 * share / 3 / 2000**0.5 + 0.01)


@pytest.mark.parametrize("kind", ["normal", "lognormal"])
def test_a_length_strays_as_far_as_was_asked_for(kind):
    for seed in range(3):
        found = build_lengths(Lengths.model_validate(f"{kind}(400, 80)"), 20_000, str(seed), "prompt_tokens")
        assert stdev(found) == pytest.approx(80, rel=0.03)


def test_a_distribution_outside_of_its_bounds_is_one_line():
    assert refused(prompt_tokens={"distribution": "normal", "mean": 10, "std": 1, "low": 900, "high": 910}) == (
        "prompt_tokens: next to nothing of normal(10, 1) lies between 900 and 910; widen low and high"
    )


def test_a_line_of_plain_text_fills_a_template(written):
    made = work(data={"source": written("lines.txt", "a bb", "", "ccc"), "template": "{text} is what?"}, batch=2)
    assert [request.prompt for request in made.requests] == [(1, 2, 2, 5), (3, 2, 5)]


def test_prompts_of_a_file_are_asked_in_order_and_again_where_there_are_too_few(written):
    name = written("chat.jsonl", {"prompt": "a b"}, {"prompt": "a b c d"})
    made = work(data={"source": name}, requests=3, batch=3)
    assert lengths(made) == [(2, 32), (4, 32), (2, 32)]
    assert made.notes["prompt_tokens_before"] == made.notes["prompt_tokens_after"] == 6
    assert len(made.notes["sha256"]) == 64


def test_columns_a_template_and_answer_lengths_of_a_table(written):
    name = written("qa.csv", "q,context,n", "why,a b c,7", "how,d e,9")
    made = work(data={"source": name, "template": "{context} then {q}", "output_field": "n"}, batch=2)
    assert lengths(made) == [(5, 7), (4, 9)]


@pytest.mark.parametrize(
    ("rule", "expected", "note"),
    [("left", (3, 4, 5), "truncated"), ("right", (1, 2, 3), "truncated"), ("drop", (9,), "dropped")],
)
def test_prompts_that_are_too_long_are_cut_or_left_out_as_asked(written, rule, expected, note):
    name = written("long.txt", "a bb ccc dddd eeeee", "nnnnnnnnn")
    made = work(data={"source": name, "max_tokens": 3, "too_long": rule})
    assert made.requests[0].prompt == expected
    assert made.notes[note] == 1


def test_a_prompt_that_is_too_short_is_filled_up_by_itself(written):
    made = work(data={"source": written("short.txt", "a bb"), "min_tokens": 5})
    assert made.requests[0].prompt == (2, 1, 2, 1, 2)
    assert (made.notes["prompt_tokens_before"], made.notes["prompt_tokens_after"], made.notes["padded"]) == (2, 5, 1)


def test_prompts_that_are_too_short_are_left_out_or_an_error_as_asked(written):
    asked = {"source": written("short.txt", "a bb", "a bb ccc dddd", "a"), "min_tokens": 3}
    made = work(data={**asked, "too_short": "drop"})
    assert [request.prompt for request in made.requests] == [(1, 2, 3, 4)]
    counts = ("prompts", "dropped", "padded", "prompt_tokens_before", "prompt_tokens_after")
    assert [made.notes[name] for name in counts] == [3, 2, 0, 7, 4]
    assert refused(data={**asked, "too_short": "error"}) == (
        "data: prompt 0 has 2 tokens, min_tokens is 3; fill them up by too_short='repeat', or leave them out by 'drop'"
    )


def test_where_all_prompts_are_left_out_the_bounds_are_named(written):
    asked = {"source": written("odd.txt", "a", "a b c d"), "min_tokens": 2, "max_tokens": 3}
    assert refused(data={**asked, "too_short": "drop", "too_long": "drop"}) == (
        "data: all 2 prompts are under min_tokens=2 or over max_tokens=3, and left out"
    )


def test_the_packages_own_prompts():
    made = work(data={"source": "builtin:all", "limit": 30})
    assert len(made.requests) == 30
    assert min(len(request.prompt) for request in made.requests) >= 5


def test_a_trace_is_replayed_from_its_first_request(written):
    name = written(
        "day.jsonl",
        {"arrival_s": 10.0, "prompt_tokens": 4, "output_tokens": 2, "user": "x"},
        {"arrival_s": 10.5, "prompt": "a b c", "output_tokens": 3},
    )
    made = work(traffic={"trace": name})
    assert made.submission == "open"
    assert [request.arrival_s for request in made.requests] == [0.0, 0.5]
    assert lengths(made) == [(4, 2), (3, 3)]


def test_a_closed_loop_knows_how_many_are_under_way():
    made = work(traffic={"concurrency": 4, "requests": 10})
    assert (made.submission, made.concurrency, len(made.requests), made.waves) == ("closed", 4, 10, ())


def test_traffic_of_so_many_seconds_has_as_many_requests_as_arrive():
    made = work(traffic={"qps": 20, "seconds": 10}, seed=3)
    assert len(made.requests) == pytest.approx(200, rel=0.25)
    assert 8 < made.requests[-1].arrival_s < 10


def test_decoding_is_handed_on_by_its_fields():
    assert work(decoding="creative").decoding == {"temperature": 1.2, "top_p": 0.98, "top_k": 100}
    assert work(decoding={"preset": "factual", "seed": 7}).decoding["seed"] == 7
    assert work().decoding == {"temperature": 0.0}


def test_what_shapes_a_draw_is_told_apart_where_nothing_is_drawn():
    assert DecodingSpec(top_p=0.9, top_k=50, min_p=0.1, seed=0).undrawn == ("top_p", "top_k", "min_p", "seed")
    assert DecodingSpec(top_h=0.4, epsilon_cutoff=0.1, eta_cutoff=0.1).undrawn == (
        "top_h",
        "epsilon_cutoff",
        "eta_cutoff",
    )
    assert DecodingSpec(top_p=1.0, top_k=1, min_p=0.0, repetition_penalty=1.2, presence_penalty=0.5).undrawn == ()
    assert DecodingSpec(temperature=0.7, top_p=0.9, seed=3).undrawn == ()
    assert [name for name, fields in PRESETS.items() if DecodingSpec(**fields).undrawn] == []


@pytest.fixture
def mine(monkeypatch):
    """Gives a generator of the user's own the name `mine`."""
    monkeypatch.setattr(generators, "_GIVEN", {})
    return lambda function: generators.give([{"mine": function}])


def test_a_generator_of_ones_own_makes_the_requests(mine):
    mine(lambda workload, vocabulary: [{"prompt": "a b"}, {"prompt": [1, vocabulary - 1], "output_tokens": 5}])
    assert lengths(work(generator="mine", output_tokens=9)) == [(2, 9), (2, 5)]


def test_a_generator_may_say_when_its_requests_come(mine):
    mine(lambda *_: ({"prompt": "a", "arrival_s": index / 2} for index in range(100)))
    made = work(generator="mine", traffic={"arrivals": "generator", "requests": 3})
    assert (made.submission, [request.arrival_s for request in made.requests]) == ("open", [0.0, 0.5, 1.0])
    assert len(work(generator="mine", traffic={"arrivals": "generator"}).requests) == 100


def test_arrivals_are_a_generators_own_only_where_that_is_asked_for(mine):
    mine(lambda *_: [{"prompt": "a", "arrival_s": 0.5}])
    line = (
        "generator 'mine': its requests have an arrival_s; say traffic={'arrivals': 'generator'}, and no other "
        "traffic, or leave them out"
    )
    assert refused(generator="mine") == refused(generator="mine", target_qps=2) == line
    mine(lambda *_: [{"prompt": "a"}])
    assert refused(generator="mine", traffic={"arrivals": "generator"}) == (
        "generator 'mine': its requests have no arrival_s, which traffic={'arrivals': 'generator'} takes"
    )
    mine(lambda *_: [{"prompt": "a", "arrival_s": at} for at in (2, 1)])
    assert refused(generator="mine", traffic={"arrivals": "generator"}) == (
        "generator 'mine': its requests' arrival_s are not in order"
    )


def test_a_generator_may_be_endless_where_something_else_bounds_it(mine):
    mine(lambda *_: ({"prompt": [index]} for index in count()))
    assert [request.prompt for request in work(generator="mine", requests=3).requests] == [(0,), (1,), (2,)]
    made = work(generator="mine", traffic={"qps": 1, "arrivals": "constant", "seconds": 4})
    assert [(request.prompt, request.arrival_s) for request in made.requests] == [((i,), float(i)) for i in range(4)]


def test_an_endless_generator_that_nothing_bounds_is_one_line(mine, monkeypatch):
    monkeypatch.setattr(generators, "MOST", 50)
    mine(lambda *_: ({"prompt": "a"} for _ in count()))
    assert refused(generator="mine") == (
        "generator 'mine': over 50 requests, and nothing bounds them; give requests, or end it earlier"
    )


def test_a_generator_may_give_requests_and_any_mapping(mine):
    mine(lambda *_: [Request(prompt=(1, 2), output_tokens=3), MappingProxyType({"prompt": "a"})])
    assert lengths(work(generator="mine", output_tokens=9)) == [(2, 3), (1, 9)]


def broken(*_):
    raise ValueError("no more ideas\nand a second line")


@pytest.mark.parametrize(
    ("function", "line"),
    [
        (broken, "generator 'mine': ValueError: no more ideas"),
        (lambda *_: [], "generator 'mine': gave no request"),
        (lambda *_: 7, "generator 'mine': TypeError: 'int' object is not iterable"),
        (lambda: [{}], "generator 'mine': TypeError: <lambda>() takes 0 positional arguments but 2 were given"),
        (
            lambda *_: [{"prompt": ""}],
            "generator 'mine': request 0: prompt: expected a text or token ids, and not an empty one (got '')",
        ),
        (
            lambda *_: [{"prompt": "a"}, {"prompt": [1, "b"]}],
            "generator 'mine': request 1: prompt: expected a text or token ids, and not an empty one (got [1, 'b'])",
        ),
        (lambda *_: ["why"], "generator 'mine': request 0: expected a mapping with a prompt, got 'why'"),
        (
            lambda *_: [{"prompt": "a", "tokens": 3}],
            "generator 'mine': request 0: tokens: Extra inputs are not permitted (got 3)",
        ),
        (
            lambda *_: [{"prompt": "a", "arrival_s": float("nan")}],
            "generator 'mine': request 0: arrival_s: Input should be a finite number (got nan)",
        ),
        (
            lambda *_: [{"prompt": "a", "arrival_s": 1}, {"prompt": "b"}],
            "generator 'mine': 1 of 2 requests have an arrival_s; give it to all, or to none",
        ),
        (
            lambda *_: [{"prompt": "a", "arrival_s": 1}],
            "generator 'mine': its requests have an arrival_s; say traffic={'arrivals': 'generator'}, and no other "
            "traffic, or leave them out",
        ),
        (lambda *_: [{"prompt": [1000]}], "prompts: token id 1000 of prompt 0 is not in [0, 1000)"),
    ],
)
def test_a_generator_that_fails_is_named(mine, function, line):
    mine(function)
    assert refused(generator="mine") == line


@pytest.mark.parametrize(
    ("asked", "rows", "line"),
    [
        ({"data": {"source": "x.jsonl"}}, [], "data: x.jsonl is empty; it needs at least one row"),
        ({"data": {"source": "x.jsonl"}}, ["{"], "data: x.jsonl:1: no JSON"),
        ({"data": {"source": "x.jsonl"}}, [{"a": "b"}], "data: x.jsonl:1: no column prompt or text or "),
        (
            {"data": {"source": "x.jsonl", "template": "{b}"}},
            [{"a": "b"}],
            "data: x.jsonl:1: template: no column 'b'; its columns: a",
        ),
        ({"data": {"source": "y.jsonl"}}, [{}], "data: there is no file 'y.jsonl'"),
        ({"data": {"source": "builtin:chta"}}, [{}], "data: builtin:chta: no such set; the nearest is 'chat'"),
        (
            {"traffic": {"trace": "x.jsonl"}},
            [
                {"arrival_s": 2, "prompt_tokens": 1, "output_tokens": 1},
                {"arrival_s": 1, "prompt": "a", "output_tokens": 1},
            ],
            "traffic: trace: x.jsonl:2: arrival_s 1 comes after 2; sort the trace by arrival_s",
        ),
        ({"traffic": {"trace": "x.jsonl"}}, [{"arrival_s": 2}], "traffic: trace: x.jsonl:1: output_tokens"),
        ({"traffic": {"qps": 2}}, [], "traffic: nothing bounds a pass"),
        ({"batching": "dynamic"}, [], "batching='dynamic' fills groups up to max_tokens_per_batch"),
        (
            {"batching": "sorted_dynamic", "max_tokens_per_batch": 10, "requests": 4},
            [],
            "max_tokens_per_batch=10: request 0 alone holds 128 prompt and 32 output tokens; give at least 160",
        ),
        (
            {"batching": "dynamic", "max_tokens_per_batch": 9, "traffic": {"qps": 2, "requests": 2}},
            [],
            "batching='dynamic': requests that come over time are not handed over in groups",
        ),
    ],
)
def test_what_cannot_be_is_seen_before_an_engine_starts_in_one_line(written, asked, rows, line):
    written("x.jsonl", *rows)
    with pytest.raises(UsageError) as caught:
        check_workload(WorkloadSpec(**asked))
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_a_prompt_over_the_limit_is_an_error_that_names_the_ways_out(written):
    assert refused(data={"source": written("x.txt", "a b c"), "max_tokens": 2}) == (
        "data: prompt 0 has 3 tokens, max_tokens is 2; "
        "cut them by too_long='left' or 'right', or leave them out by 'drop'"
    )
