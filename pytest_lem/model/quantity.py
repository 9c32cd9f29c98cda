"""A number that a user sees: a float that knows its unit, interval, count and source."""

from __future__ import annotations


class Quantity(float):
    """A measured or estimated value; compares and computes as a plain float, explains itself when printed.

    `low` and `high` bound a 95 % interval (None where there is none), `n` is the count of rounds or cycles behind it,
    `covers` says what the interval speaks for, `source` is `measured` or `estimated`.
    """

    key: str
    unit: str
    low: float | None
    high: float | None
    n: int
    source: str
    covers: str | None

    def __new__(
        cls,
        value: float,
        *,
        key: str,
        unit: str,
        low: float | None = None,
        high: float | None = None,
        n: int = 0,
        source: str = "measured",
        covers: str | None = None,
    ) -> Quantity:
        self = super().__new__(cls, value)
        self.key, self.unit, self.low, self.high = key, unit, low, high
        self.n, self.source, self.covers = n, source, covers
        return self

    def __getnewargs_ex__(self) -> tuple[tuple[float], dict[str, object]]:
        return (float(self),), dict(self.__dict__)

    def __repr__(self) -> str:
        mark = " (estimated)" if self.source == "estimated" else ""
        return f"{float(self):.4g} {self.unit}{mark}"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(float(self), spec) if spec else repr(self)

    def explain(self) -> str:
        """One line: the interval, what it covers, how many rounds stand behind it."""
        if self.low is None or self.high is None:
            why = "single measurement" if self.n == 1 else f"{self.n} rounds"
            return f"{self.key}: no interval ({why}), {self.source}"
        if self.covers == "range":
            return f"{self.key}: {self.n} rounds ranged {self.low:.4g}..{self.high:.4g}, too few for an interval"
        covers = f" ({self.covers})" if self.covers else ""
        return f"{self.key}: 95 % interval {self.low:.4g}..{self.high:.4g} over {self.n} rounds{covers}, {self.source}"
