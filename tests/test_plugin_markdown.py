"""`--lem-markdown`, and GitHub's summary of a step: what a reader of CI sees of a run, once."""

from __future__ import annotations

import pytest
from markdown_it import MarkdownIt
from users_project import TEST


def summary(project, name="out.md"):
    return (project.pytester.path / name).read_text()


def rows(markdown):
    """Its tables' cells, as a reader sees them."""
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    found = []
    for token in tokens:
        if token.type == "tr_open":
            found.append([])
        if token.type == "inline" and token.level >= 4:
            found[-1].append("".join(each.content for each in token.children or []))
    return found


def test_the_summary_is_written_where_it_was_asked_and_ends_with_the_cheapest(project):
    project.write()
    result = project.run("--lem-markdown=out.md")
    result.assert_outcomes(passed=2)
    text = summary(project)
    lines = text.splitlines()
    assert lines[0] == "### Energy of inference: 2 measurements, nothing was compared"
    assert lines[-1].startswith("**cheapest configuration: test")
    assert "b8" in lines[-1]
    table = rows(text)
    assert table[0][0] == "configuration"
    assert [row[0] for row in table[1:3]] == ["test_decode[fake-bf16-b1]", "test_decode[fake-bf16-b8]"]
    assert table[0][1:3] == ["load", "J/token (mJ)"]
    assert [row[1] for row in table[1:3]] == ["batch 1", "batch 8"]
    joules = project.metric("joules_per_token")["value"] * 1e3
    assert float(table[1][2].split()[0]) == pytest.approx(joules, rel=0.01)
    assert f"Run `{project.report()['run']['id']}`." in text
    result.stdout.fnmatch_lines(["report: *report.json", "summary: out.md", "cheapest configuration: *b8* with *J/tok"])


def test_the_last_line_is_the_same_in_every_summary(project):
    project.write()
    result = project.run("--lem-markdown=out.md", "--lem-html=out.html")
    last = next(line for line in reversed(result.outlines) if line.startswith("cheapest"))
    said = "".join(each.content for each in MarkdownIt().parseInline(summary(project).splitlines()[-1])[0].children)
    assert said == last
    assert last in (project.pytester.path / "out.html").read_text()


def test_a_page_that_cannot_be_written_takes_no_summary_no_comment_and_no_baseline_away(project):
    project.write()
    long = "a" * 250  # no room for the temporary name beside it
    result = project.run(f"--lem-html={long}.html", "--lem-markdown=out.md", f"--lem-comment={long}", "--lem-save=main")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["lem: cannot write *.html: *", "lem: cannot write *aaa: *"])
    result.stdout.fnmatch_lines(
        ["test_decode*b8*", "saved to baseline main", "report: *", "summary: out.md", "cheapest*"]
    )
    result.stdout.no_fnmatch_line("page: *")
    assert "test_decode\\[fake-bf16-b8\\]" in summary(project).splitlines()[-1]


def test_what_missed_its_limit_stands_in_the_summary(project):
    project.write()
    result = project.run("--lem-markdown=out.md", "--lem-budget=joules_per_token:0.000001")
    result.assert_outcomes(failed=2)
    failed = [line for line in summary(project).splitlines() if line.startswith("- ") and "joules_per_token" in line]
    assert len(failed) == 2
    assert [row[-1] for row in rows(summary(project))[1:3]] == ["failed", "failed"]


def test_a_run_of_windows_has_nothing_to_choose_from(project):
    project.write("def test_nap(lem_energy):\n    with lem_energy.window('nap'):\n        sum(range(10**6))\n")
    result = project.run("--lem-markdown=out.md")
    result.assert_outcomes(passed=1)
    assert "cheapest" not in summary(project)
    assert "cheapest" not in result.stdout.str()
    assert rows(summary(project))[1][0] == "test_nap · nap"


def test_githubs_summary_of_the_step_gets_it_after_what_is_there(project, monkeypatch, tmp_path):
    step = tmp_path / "step.md"
    step.write_text("# Earlier\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(step))
    project.write()
    project.run("--lem-markdown=out.md").assert_outcomes(passed=2)
    assert step.read_text() == f"# Earlier\n{summary(project)}\n"


def test_without_a_lem_test_the_steps_summary_stays_empty(project, monkeypatch, tmp_path):
    step = tmp_path / "step.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(step))
    project.write("def test_plain():\n    pass\n")
    project.run().assert_outcomes(passed=1)
    assert not step.exists()


def test_a_step_summary_that_cannot_be_written_fails_no_run(project, monkeypatch, tmp_path):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))
    project.write()
    result = project.run()
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines([f"GITHUB_STEP_SUMMARY: cannot write {tmp_path}: Is a directory"])


@pytest.mark.xdist
def test_of_several_workers_one_summary_comes_from_the_controller(project, monkeypatch, tmp_path):
    step = tmp_path / "step.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(step))
    project.write(TEST.replace("[1, 8]", "[1, 2, 4, 8]"))
    project.subprocess("-n2", "--lem-markdown=out.md").assert_outcomes(passed=4)
    assert step.read_text() == f"{summary(project)}\n"
    assert step.read_text().count("### Energy of inference: 4 measurements") == 1


@pytest.mark.parametrize("option", ["markdown", "comment"])
def test_a_place_that_cannot_be_is_one_line_before_anything_runs(project, option):
    project.write()
    result = project.run(f"--lem-{option}=nowhere/out.md")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    line = f"ERROR: --lem-{option}=nowhere/out.md: there is no such folder; make it, or name another"
    result.stderr.fnmatch_lines([line])
