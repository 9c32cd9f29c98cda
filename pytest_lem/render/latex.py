"""The table as LaTeX, for the package booktabs; text from outside is set as it is written."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pytest_lem.render.brief import Brief, Head, Name, Number, Words, brief
from pytest_lem.render.entries import Entry

NOTHING = "% No measurement was made.\n"
_SPACES = re.compile(r"[\s\x00-\x1f\x7f\u2028\u2029]+")
_EXPONENT = re.compile(r"(-?[\d.]+)e([+-]\d+)")
# Two of these side by side are set as one other sign: a dash, a quotation mark.
_JOINED = re.compile(r"([-,])(?=\1)")
_SIGNS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedblright{}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    "–": r"\textendash{}",
    "—": r"\textemdash{}",
    "…": r"\ldots{}",
    "·": r"\textperiodcentered{}",
    "µ": r"\textmu{}",
    "μ": r"\textmu{}",
    "±": r"\textpm{}",
    "×": r"\texttimes{}",
    "°": r"\textdegree{}",
    "−": r"\textminus{}",
    "→": r"\textrightarrow{}",
}


def as_latex(entries: Sequence[Entry], metrics: Sequence[str] = ()) -> str:
    r"""A `table` that wants `\usepackage{booktabs}`. Raises UsageError for a metric that nobody knows."""
    return "\n".join(_lines(brief(entries, metrics))) + "\n" if entries else NOTHING


def _lines(found: Brief) -> list[str]:
    below = ["all of them: " + " · ".join(found.same)] if found.same else []
    below += [*found.legend, *(f"{mark} {said}" for mark, said in found.notes)]
    return [
        r"% \usepackage{booktabs}; LaTeX of 2020-02 or newer, or \usepackage{textcomp}",
        r"\begin{table}",
        r"  \centering",
        rf"  \begin{{tabular}}{{{''.join('l' if head.left else 'r' for head in found.heads)}}}",
        r"    \toprule",
        f"    {_row([_head(head) for head in found.heads])}",
        r"    \midrule",
        *(f"    {_row([_cell(cell) for cell in row])}" for row in found.rows),
        r"    \bottomrule",
        r"  \end{tabular}",
        *(rf"  \par{{\footnotesize {text(line)}}}" for line in below),
        r"\end{table}",
    ]


def text(plain: str) -> str:
    """`plain` as running text, on one line."""
    apart = "".join(_SIGNS.get(sign, sign) for sign in _SPACES.sub(" ", plain).strip())
    return _JOINED.sub(r"\1{}", apart)


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _head(head: Head) -> str:
    return text(head.label) + (f" ({text(head.unit)})" if head.unit else "")


def _cell(cell: Words) -> str:
    if isinstance(cell, Name):
        return rf"\texttt{{{text(cell.text)}}}" + "".join(rf"\textsuperscript{{{text(mark)}}}" for mark in cell.marks)
    if not isinstance(cell, Number):
        return text(cell)
    half = rf" \pm {_figure(cell.half)}" if cell.half else ""
    guess = r"{\sim}" if cell.guess else ""
    number = re.fullmatch(r"-?[\d.]+(e[+-]\d+)?", cell.shown)
    shown = f"${guess}{_figure(cell.shown)}{half}$" if number else ("$\\sim$" if cell.guess else "") + text(cell.shown)
    return shown + (rf"\textsuperscript{{{text(cell.mark)}}}" if cell.mark else "")


def _figure(shown: str) -> str:
    r"""`1.23e+08` as `1.23 \times 10^{8}`."""
    parts = _EXPONENT.fullmatch(shown)
    return shown if parts is None else rf"{parts[1]} \times 10^{{{int(parts[2])}}}"
