"""Student's t by finite sums is that of scipy."""

from __future__ import annotations

import subprocess
import sys
from math import copysign

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import betainc, stdtrit

from pytest_lem.stats.student import chance_below, quantile


@given(df=st.integers(1, 60), t=st.floats(-100, 100))
def test_the_chance_below_a_value_is_scipys(df, t):
    # Not scipy's `stdtr`: near 0 it is off by up to 2e-9.
    within = float(betainc(0.5, df / 2, t**2 / (df + t**2)))
    assert chance_below(df, t) == pytest.approx(0.5 + copysign(within, t) / 2, abs=1e-13)


@given(df=st.integers(1, 60), share=st.floats(0.001, 0.999))
def test_the_value_of_a_chance_is_scipys(df, share):
    assert quantile(df, share) == pytest.approx(float(stdtrit(df, share)), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("df", "share", "value"), [(1, 0.975, 12.706), (4, 0.975, 2.776), (8, 0.98, 2.449), (30, 0.5, 0)]
)
def test_it_has_the_values_of_printed_tables(df, share, value):
    assert quantile(df, share) == pytest.approx(value, abs=5e-4)


@pytest.mark.parametrize(("df", "share"), [(0, 0.9), (4, 0.0), (4, 1.0), (4, float("nan"))])
def test_what_is_no_distribution_or_chance_is_refused(df, share):
    with pytest.raises(ValueError, match=r"degrees of freedom|a share"):
        quantile(df, share)


def test_whole_degrees_of_freedom_load_no_library():
    program = (
        "import sys; from pytest_lem.stats.rule import Difference\n"
        "print(round(Difference(0.1, 0.02, 4).low(0.025), 4), sorted({'numpy', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "0.0445 []\n"


def test_intervals_with_whole_degrees_of_freedom_load_no_scipy():
    program = (
        "import sys; from pytest_lem.stats.intervals import mean_interval, student\n"
        "print(round(mean_interval([1, 1.1, 0.9, 1]).high, 4), round(student(7.0), 4), 'scipy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "1.1365 2.3646 False\n"
