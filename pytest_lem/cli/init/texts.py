"""What `lem init` writes, with FOLDER in the place of the folder. docs/ci.md tells more of the workflows."""

TEST = '''\
"""A first test of energy. Run it:  pytest FOLDER --lem-quick"""

import pytest


# A list makes one test each: test_decode[pytorch-bf16-b1-c0] and test_decode[pytorch-bf16-b8-c0].
@pytest.mark.lem(
    model="synthetic:tiny",  # random weights, no download; put a folder or a hub name here
    batch=[1, 8],
    prompt_tokens=128,  # each prompt has exactly so many tokens
    output_tokens=32,  # and each answer
)
# A test fails above its budget. Where no meter reads joules, that on joules is skipped, and says why.
# @pytest.mark.lem_budget(joules_per_token=0.5, ttft_p99_ms=500)
# With --lem-baseline=main it also fails where it got worse than the runs before it.
# @pytest.mark.lem_gate("joules_per_token", threshold=0.05)
def test_decode(lem_backend, lem_workload, lem_energy):
    result = lem_energy.measure(lem_backend, lem_workload)
    assert result.tokens_per_second > 1
    # assert result.joules_per_token < 0.5
'''

GITHUB = """\
# What LLM inference costs in energy: compared on each pull request, accepted on the default branch.
name: energy

on:
  pull_request:
  push:

permissions: {}

jobs:
  gate:
    # A runner of your own, with a GPU. Never run there what a stranger asks to pull.
    runs-on: [self-hosted, gpu]
    if: >-
      github.event.pull_request.head.repo.full_name == github.repository
      || github.event_name == 'push' && github.ref_name == github.event.repository.default_branch
    permissions:
      contents: read
      pull-requests: write # the comment
    concurrency: # one measurement at a time, the others wait
      group: lem-gpu
      queue: max
    steps:
      - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1
        with:
          persist-credentials: false

      - name: Install
        run: |
          python3 -m venv --clear "$RUNNER_TEMP/lem"
          "$RUNNER_TEMP/lem/bin/python" -m pip install "pytest-lem[pytorch]"
          echo "$RUNNER_TEMP/lem/bin" >> "$GITHUB_PATH"

      # The baseline is in .lem/baselines, committed beside the code. Gates are skipped until it is there.
      - name: Gate
        id: gate
        env:
          LEM_BASELINE: ${{ github.event_name == 'push' && '--lem-save=main' || '--lem-baseline=main' }}
        run: |
          mkdir -p lem-report
          python -m pytest FOLDER "$LEM_BASELINE" --lem-comment=lem-report/verdicts.md \\
            --lem-html=lem-report/report.html --lem-json=lem-report/report.json --junitxml=lem-report/junit.xml

      # To accept a run: copy .lem/baselines from here into a clone, and commit it.
      - name: Keep the report
        if: ${{ !cancelled() && steps.gate.outcome != 'skipped' }}
        uses: actions/upload-artifact@bbbca2ddaa5d8feaa63e36b76fdaad77386f024f # v7.0.0
        with:
          name: lem-report
          path: |
            lem-report
            .lem
          include-hidden-files: true
          overwrite: true

      - name: Comment
        if: ${{ !cancelled() && steps.gate.outcome != 'skipped' && github.event_name == 'pull_request' }}
        continue-on-error: true
        env:
          GITHUB_TOKEN: ${{ github.token }}
        run: lem comment lem-report/verdicts.md
"""

GITLAB = """\
# What LLM inference costs in energy: compared in each merge request, accepted on the default branch.
energy:
  stage: test
  image: python:3.12
  tags: [gpu] # a runner with a GPU
  resource_group: lem-gpu # one measurement at a time, the others wait
  rules:
    - if: $CI_PIPELINE_SOURCE == "merge_request_event"
      variables:
        LEM_BASELINE: --lem-baseline=main
    - if: $CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH
      variables:
        LEM_BASELINE: --lem-save=main
  before_script:
    - python3 -m venv --clear .lem-venv
    - .lem-venv/bin/python -m pip install "pytest-lem[pytorch]"
  # The baseline is in .lem/baselines, committed beside the code. Gates are skipped until it is there.
  script:
    - mkdir -p lem-report
    - >-
      .lem-venv/bin/python -m pytest FOLDER "$LEM_BASELINE" --lem-comment=lem-report/verdicts.md
      --lem-html=lem-report/report.html --lem-json=lem-report/report.json --junitxml=lem-report/junit.xml
  # After a gate that failed too. GITLAB_TOKEN: an access token of the project, scope api, role Reporter.
  after_script:
    - if [ -n "$CI_MERGE_REQUEST_IID" ] && [ -n "$GITLAB_TOKEN" ]; then
      .lem-venv/bin/lem comment lem-report/verdicts.md; fi
  # To accept a run: copy .lem/baselines from here into a clone, and commit it.
  artifacts:
    when: always
    expire_in: 90 days
    paths: [lem-report, .lem]
    reports:
      junit: lem-report/junit.xml
"""

PIPELINE_TEXT = """\
include:
  - local: .gitlab/energy.yml
"""
