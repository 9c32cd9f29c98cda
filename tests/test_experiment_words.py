"""The table of words: every one of them means a keyword that there is, files of others are refused."""

from __future__ import annotations

import pytest

from pytest_lem.campaign.document import Document, read
from pytest_lem.campaign.layers import EXPERIMENT_FIELDS, PROTOCOL_FIELDS
from pytest_lem.experiment.shape import check_shape
from pytest_lem.experiment.words import WORDS
from pytest_lem.model.errors import UsageError

ENGINES = ("pytorch", "vllm")


@pytest.fixture
def written(tmp_path):
    def written(text) -> Document:
        path = tmp_path / "a.lem.yaml"
        path.write_text(text)
        return read(path, "a.lem.yaml")

    return written


def test_every_word_means_a_keyword_that_there_is():
    known = {*EXPERIMENT_FIELDS, *PROTOCOL_FIELDS, "id"}
    meant = {word.means.partition(".")[0] for word in WORDS.values() if word.means}
    assert meant <= known
    # and every keyword can be said in a file by its own name
    assert known <= {name.partition(".")[0] for name in WORDS}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("batch: 1\nbacth: 8\n", "a.lem.yaml:2: unknown key 'bacth'; the nearest known one is 'batch'"),
        ("swep: {}\n", "a.lem.yaml:1: unknown key 'swep'; the nearest known one is 'sweep'"),
        (
            "batching:\n  strategy: static\n  batch_sise: 1\n",
            "a.lem.yaml:3: unknown key 'batching.batch_sise'; the nearest known one is 'batching.batch_size'",
        ),
        ("load_in_4bit: true\n", "a.lem.yaml:1: unknown key 'load_in_4bit'; say quantization.load_in_4bit"),
        ("preset: creative\n", "a.lem.yaml:1: unknown key 'preset'; say decoder.preset"),
        (
            "batch: eight\n",
            "a.lem.yaml:1: batch: expected a whole number from 1, a range or a list of them; got 'eight'",
        ),
        ("batch: [1,\n 0]\n", "a.lem.yaml:2: batch: expected a whole number from 1 or a range; got 0"),
        ("batch: true\n", "a.lem.yaml:1: batch: expected a whole number from 1, a range or a list of them; got True"),
        (
            "rounds: [1, 2]\n",
            "a.lem.yaml:1: rounds: expected a whole number from 1; got [1, 2]; a list of them goes under",
        ),
        (
            "fp_precision: fp9\n",
            "a.lem.yaml:1: fp_precision: expected float32, float16, bfloat16, fp32, fp16, bf16 or a",
        ),
        ("model_name: 8\n", "a.lem.yaml:1: model_name: expected a text or a list of them; got 8"),
        (
            "traffic_simulation: on\n",
            "a.lem.yaml:1: traffic_simulation: expected a mapping, such as `traffic_simulation: ",
        ),
        (
            "traffic_simulation:\n  enabled: 1\n",
            "a.lem.yaml:2: traffic_simulation.enabled: expected true or false; got 1",
        ),
        ("decoder:\n  temperature: hot\n", "a.lem.yaml:2: decoder.temperature: expected a number from 0; got 'hot'"),
        ("quantization: 3bit\n", "a.lem.yaml:1: quantization: expected none, 4bit, 8bit; got '3bit'"),
        (
            "sharding:\n  strategy: data\n",
            "a.lem.yaml:2: sharding.strategy: expected none, tensor_parallel, pipeline_par",
        ),
        ("adapter: me/lora\n", "a.lem.yaml:1: adapter: 'me/lora' cannot be had: LoRA adapters are not run here"),
        (
            "schedule:\n  enabled: true\n",
            "a.lem.yaml:2: schedule.enabled: True cannot be had: lem schedule add FILE runs",
        ),
        ("min_output_tokens: 5\n", "a.lem.yaml:1: min_output_tokens: 5 cannot be had: every request gets exactly"),
        ("io:\n  results_dir: out\n", "a.lem.yaml:2: io.results_dir: 'out' cannot be had: the command line says where"),
        ("decoder:\n  beam_search: {enabled: true}\n", "a.lem.yaml:2: decoder.beam_search.enabled: True cannot be had"),
    ],
)
def test_what_means_nothing_is_one_line_with_the_mend(written, text, line):
    with pytest.raises(UsageError) as caught:
        check_shape(written(text), ENGINES)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_what_asks_for_nothing_may_stand(written):
    check_shape(
        written(
            "is_encoder_decoder: false\ntask_type: text_generation\nadapter: null\nquery_rate: 1.0\n"
            "io: {results_dir: null}\n"
            "schedule: {enabled: false, interval: null, at: null, total_duration: 24h}\nextra_metadata: {team: x}\n"
            "decoder: {no_repeat_ngram_size: 0, beam_search: {enabled: false, num_beams: 1}}\nmin_output_tokens: 0\n"
            "precision: null\nquantization: null\nbatching: {max_tokens_per_batch: null}\n"
        ),
        ENGINES,
    )
