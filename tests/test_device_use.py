"""What GPUs told in rounds, made late into metrics, and shown: numbers worked out by hand."""

from __future__ import annotations

from html import escape

import pytest
from builders import GPU, a_cycle, a_measurement, a_round, a_spread, a_use, an_invalid_round
from test_render_html import a_report
from test_round_flops import PASS, hooked

from pytest_lem.launches import launches, ungateable
from pytest_lem.meters.gauges import AVERAGED, SHARED
from pytest_lem.model.errors import Unavailable
from pytest_lem.model.measurement import Measurement
from pytest_lem.model.metrics import METRICS
from pytest_lem.model.round import Round
from pytest_lem.render.comment import Price
from pytest_lem.render.comment import summary as markdown
from pytest_lem.render.device_use import SAMPLED, device_use, device_use_lines, used
from pytest_lem.render.html.summary import summary
from pytest_lem.render.roofline import roofline
from pytest_lem.render.terminal import table
from pytest_lem.reporting import late_metrics

OTHER = "GPU-0ther000-1111-2222-3333-444455556666"
NO_GPM = "GPM: the card has none"


def measured(*rounds: Round, **changes) -> Measurement:
    found = a_measurement(cycles=(a_cycle(rounds=rounds, **changes),))
    return found.model_copy(update={"metrics": late_metrics(found)})


def rounds(*uses) -> tuple[Round, ...]:
    return tuple(a_round(index, use=each if isinstance(each, tuple) else (each,)) for index, each in enumerate(uses))


def test_a_metric_of_use_is_the_mean_of_the_gpus_and_the_median_of_the_rounds():
    found = measured(
        *rounds(
            (a_use(sm_active=0.70), a_use(OTHER, sm_active=0.80)),
            (a_use(sm_active=0.72), a_use(OTHER, sm_active=0.82)),
            (a_use(sm_active=0.10), a_use(OTHER, sm_active=0.20)),
        )
    )
    value = found.metrics["sm_active"]
    assert value.value == pytest.approx(0.75, rel=1e-3)
    assert (value.n, value.source, value.unit) == (3, "measured", "1")
    assert launches(found, "sm_active")[0].values == pytest.approx((0.75, 0.77, 0.15))


def test_peak_memory_in_use_is_the_most_of_all_rounds_summed_over_the_gpus():
    found = measured(
        *rounds(
            (a_use(memory_used_bytes=10.0), a_use(OTHER, memory_used_bytes=a_spread(5.0, max=30.0))),
            (a_use(memory_used_bytes=11.0), a_use(OTHER, memory_used_bytes=20.0)),
        )
    )
    assert found.metrics["peak_used_bytes"].value == 40


def test_rounds_that_lost_their_telemetry_are_left_out_and_invalid_ones_never_count():
    lost = a_use(dram_active=a_spread(None, reason="GPM: GPU is lost"))
    bad = an_invalid_round(2, use=(a_use(dram_active=0.9),))
    found = measured(*rounds(a_use(dram_active=0.2), lost), bad)
    assert (found.metrics["dram_active"].value, found.metrics["dram_active"].n) == (pytest.approx(0.2), 1)
    assert "DRAM 20 %" in device_use(found)


def test_a_round_in_which_the_driver_was_lost_counts_by_none_of_its_means_and_no_peak_that_it_did_not_see():
    lost = {"reason": "GPU is lost"}
    half = a_use(sm_active=a_spread(0.1, **lost), memory_used_bytes=a_spread(5.0, **lost))
    found = measured(*rounds(half, a_use(sm_active=0.8, memory_used_bytes=9.0)))
    assert (found.metrics["sm_active"].value, found.metrics["sm_active"].n) == (pytest.approx(0.8), 1)
    assert "SM 80 %" in device_use(found)
    alone = measured(*rounds(half))
    assert (alone.metrics["peak_used_bytes"].value, alone.metrics["peak_used_bytes"].reason) == (None, "GPU is lost")


@pytest.mark.parametrize(
    ("round_", "changes", "reason"),
    [
        (a_round(), {}, "no telemetry was taken: no meter gives any here, or it was off (--lem-telemetry)"),
        (a_round(use=(a_use(sm_active=a_spread(None, reason=NO_GPM)),)), {}, NO_GPM),
        (a_round(), {"gpus": ()}, "the engine uses no GPU"),
        (a_round(use=(a_use(), a_use(OTHER, sm_active=a_spread(None, reason=NO_GPM)))), {}, NO_GPM),
    ],
)
def test_what_was_not_told_is_absent_with_the_reason_and_never_0(round_, changes, reason):
    found = measured(round_, **changes)
    assert (found.metrics["sm_active"].value, found.metrics["sm_active"].reason) == (None, reason)
    with pytest.raises(Unavailable, match="sm_active"):
        _ = found.sm_active


def test_a_window_of_the_users_own_code_says_that_nothing_is_sampled_there():
    found = a_measurement(cycles=(a_cycle(rounds=(a_round(),)),), engine=None, workload=None)
    reason = late_metrics(found)["peak_used_bytes"].reason
    assert reason == "a window's code runs in pytest's process, where no thread samples beside it"


def test_idle_counters_are_a_real_0():
    found = measured(*rounds(a_use(tensor_active=0.0), a_use(tensor_active=0.0)))
    assert (found.metrics["tensor_active"].value, found.metrics["tensor_active"].n) == (0.0, 2)


def test_use_can_be_budgeted_and_gated_and_more_of_it_is_better_but_for_memory():
    assert [METRICS[key].better for key in ("sm_active", "tensor_active", "dram_active")] == ["higher"] * 3
    assert METRICS["peak_used_bytes"].better == "lower"
    assert ungateable(measured(*rounds(a_use(), a_use())), "dram_active") is None


def test_a_line_says_how_the_gpu_was_used():
    found = measured(
        *rounds(a_use(reasons={"idle": 1.0, "sw_power_cap": 0.12}), a_use(power_w=a_spread(600.0, max=640.0)))
    )
    assert device_use(found) == (
        "SM 75 %, tensor 50 %, DRAM 20 %, a kernel ran 100 % of the time; 550 W (at most 640), 1980 MHz, "
        "at most 60 °C, 8.00 GiB used; throttled: sw_power_cap 6 % of the time"
    )


def test_a_card_without_gpm_says_what_it_has_and_one_that_tells_nothing_why():
    absent = a_spread(None, reason=NO_GPM)
    found = measured(*rounds(a_use(sm_active=absent, tensor_active=absent, dram_active=absent)))
    assert device_use(found).startswith("a kernel ran 100 % of the time; 500 W")
    nothing = {key: a_spread(None, reason=NO_GPM) for key in a_use().gauges}
    assert device_use(measured(*rounds(a_use(**nothing)))) == NO_GPM


@pytest.mark.parametrize(
    ("told", "cell"), [(None, "–"), ({}, "no"), ({"idle": 1.0}, "no"), ({"hw_thermal": 0.5}, "hw_thermal 50 %")]
)
def test_a_card_that_does_not_tell_of_throttling_is_not_said_to_have_had_none(told, cell):
    uses = [a_use().model_copy(update={"throttle_reasons": told})] * 2
    page = summary([measured(*rounds(*uses))], ())
    last = page[page.index(f'<td class="word">{GPU}</td>') :].split("</tr>")[0].split('<td class="word">')[-1]
    assert last.startswith(cell)


def test_what_the_numbers_are_not_is_said_where_they_are_shown():
    shared = a_use().model_copy(update={"notes": (SHARED, AVERAGED)})
    found = measured(*rounds(shared, shared))
    assert device_use(found).endswith(f"8.00 GiB used; {SHARED}; {AVERAGED}")
    assert f"{GPU}; {escape(SHARED)}; {AVERAGED}</td>" in summary([found], ())


def test_several_gpus_are_one_line_and_a_row_each():
    found = measured(*rounds((a_use(), a_use(OTHER, power_w=300.0, sm_active=0.25))))
    assert device_use(found).startswith("2 GPUs; SM 50 %, tensor 50 %, DRAM 20 %")
    assert "400 W (at most 500)" in device_use(found)
    assert [(row.device, row.mean["power_w"]) for row in used(found)] == [(GPU, 500.0), (OTHER, 300.0)]


def test_the_terminal_the_page_and_the_markdown_show_it_and_none_of_them_where_there_is_none():
    found, without = measured(*rounds(a_use(), a_use())), a_measurement()
    (line, legend) = device_use_lines([found], ["x"])
    assert legend == SAMPLED
    told = line.removeprefix("x: ")
    assert told in " ".join(row.strip() for row in table([found], width=200).splitlines())
    page = summary([found], ())
    assert f'<td class="word">{GPU}</td><td class="word">75 %</td>' in page
    assert "500 W, at most 500" in page
    assert "SM 75 %, tensor 50 %, DRAM 20 %" in markdown(a_report(found), Price())

    assert "device use" not in table([without], width=200)
    assert "device use" not in summary([without], ())
    assert "device use" not in markdown(a_report(without), Price())


def test_the_roofline_has_what_the_gpu_counted_beside_the_estimate():
    counted = tuple(a_round(index, latency=hooked(), use=(a_use(dram_active=0.41),)) for index in range(2))
    found = measured(*counted, arithmetic=PASS)
    assert roofline(found).endswith("(FLOPs: analytic); the GPU counted 41 % of its DRAM bandwidth over whole rounds")
    bare = measured(*(each.model_copy(update={"use": ()}) for each in counted), arithmetic=PASS)
    assert roofline(bare).endswith("(FLOPs: analytic)")
