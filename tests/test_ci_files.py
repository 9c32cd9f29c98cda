"""What projects take of ours into their CI: valid by the schemas of GitHub and GitLab, pinned, asking for little."""

from __future__ import annotations

import re

import pytest
from ci_lab import component, documents, faults
from project import ROOT

from pytest_lem.cli.init import texts

WORKFLOWS = ROOT / ".github" / "workflows"
OURS = {
    "action.yml": (ROOT / "action.yml").read_text(),
    "gate.yml": (WORKFLOWS / "gate.yml").read_text(),
    "accept.yml": (WORKFLOWS / "accept.yml").read_text(),
    "init": texts.GITHUB,
}
GITHUBS_OWN = {"checkout", "setup-python", "upload-artifact", "download-artifact"}


def steps(name: str) -> list[dict]:
    (found,) = documents(OURS[name])
    return [step for job in found.get("jobs", {"": found.get("runs")}).values() for step in job["steps"]]


@pytest.mark.parametrize("name", OURS)
def test_github_can_read_it(name):
    schema = "vendor.github-actions" if name == "action.yml" else "vendor.github-workflows"
    assert faults(schema, OURS[name]) == []


def test_gitlab_can_read_the_component_and_what_comes_of_it():
    head = (ROOT / "templates" / "gate.yml").read_text().partition("\n---\n")[0]
    assert faults("vendor.gitlab-ci", head) == []
    for inputs in ({}, {"tags": ["gpu", "h100"], "accept": True, "job": "energy.h100", "paths": "a 'b' \"c\" # : {d"}):
        jobs = component(**inputs)
        assert "$[[" not in jobs
        assert faults("vendor.gitlab-ci", jobs) == []


def test_the_schemas_would_tell():
    assert faults("vendor.github-workflows", OURS["gate.yml"].replace("runs-on: ${{", "run-on: ${{")) != []
    assert faults("vendor.gitlab-ci", component().replace("when: always", "when: ever")) != []


@pytest.mark.parametrize("name", OURS)
def test_actions_are_githubs_own_and_pinned(name):
    used = re.findall(r"uses: (.*)", OURS[name])
    assert len(used) >= 1
    for each in used:
        found = re.fullmatch(r"actions/([a-z-]+)@[0-9a-f]{40} # v\d+\.\d+\.\d+", each)
        assert found, each
        assert found[1] in GITHUBS_OWN


def test_one_action_has_one_version():
    used = {each for text in OURS.values() for each in re.findall(r"uses: (.*)", text)}
    assert len(used) == len({each.partition("@")[0] for each in used}) == len(GITHUBS_OWN)


@pytest.mark.parametrize("name", OURS)
def test_no_expression_is_pasted_into_a_shell(name):
    scripts = [step["run"] for step in steps(name) if "run" in step]
    assert scripts
    assert [script for script in scripts if "${{" in script] == []


def test_no_input_is_pasted_into_gitlabs_shell():
    (jobs,) = documents((ROOT / "templates" / "gate.yml").read_text())[1:]
    scripts = [
        line
        for job in jobs.values()
        for part in ("before_script", "script", "after_script")
        for line in job.get(part, [])
    ]
    assert len(scripts) == 4
    assert [script for script in scripts if "$[[" in script] == []


def test_the_workflow_has_the_steps_of_the_action():
    def plain(step: dict) -> dict:
        return {key: step[key] for key in ("name", "id", "uses", "with", "run", "continue-on-error") if key in step}

    action, (checkout, *workflow) = steps("action.yml"), steps("gate.yml")
    assert checkout["with"] == {"persist-credentials": False}
    assert list(map(plain, workflow)) == list(map(plain, action))
    same = [(one["env"], other["env"]) for one, other in zip(action, workflow, strict=True) if "env" in one]
    assert [{**one, "GITHUB_TOKEN": ""} for one, _ in same] == [{**other, "GITHUB_TOKEN": ""} for _, other in same]


def test_inputs_of_the_workflow_are_those_of_the_action_and_as_they_were():
    (action,), (workflow,) = documents(OURS["action.yml"]), documents(OURS["gate.yml"])
    theirs = workflow["on"]["workflow_call"]["inputs"]
    for name, spec in action["inputs"].items():
        if name != "token":
            assert str(theirs[name]["default"]).lower() == spec["default"]
            assert theirs[name]["description"] == spec["description"]
    assert set(theirs) - set(action["inputs"]) == {"runs-on", "timeout-minutes", "forks"}


@pytest.mark.parametrize(
    ("name", "permissions"),
    [
        ("gate.yml", {"contents": "read", "pull-requests": "write"}),
        ("accept.yml", {"contents": "write"}),
        ("init", {"contents": "read", "pull-requests": "write"}),
    ],
)
def test_a_job_may_do_what_it_must(name, permissions):
    (workflow,) = documents(OURS[name])
    (job,) = workflow["jobs"].values()
    assert (workflow["permissions"], job["permissions"]) == ({}, permissions)


@pytest.mark.parametrize("name", ["gate.yml", "init"])
def test_one_measurement_at_a_time_and_none_is_dropped(name):
    (job,) = documents(OURS[name])[0]["jobs"].values()
    assert job["concurrency"]["queue"] == "max"
    assert "cancel-in-progress" not in job["concurrency"]
    assert "head.repo.full_name == github.repository" in job["if"]
    assert documents(component())[0]["energy"]["resource_group"] == "lem-gpu"


@pytest.mark.parametrize("name", ["action.yml", "gate.yml", "init"])
def test_the_report_is_kept_when_the_gate_failed_too(name):
    found = {step["name"]: step for step in steps(name) if "name" in step}
    for each in ("Keep the report", "Comment"):
        assert found[each]["if"].startswith("${{ !cancelled() && steps.gate.outcome != 'skipped'")
    assert found["Keep the report"]["with"]["path"].split() == ["lem-report", ".lem"]
    assert found["Keep the report"]["with"]["include-hidden-files"] is True
    assert found["Comment"]["continue-on-error"] is True
    assert documents(component())[0]["energy"]["artifacts"]["when"] == "always"
