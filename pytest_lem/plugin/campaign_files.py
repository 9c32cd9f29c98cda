"""A campaign's file on the command line stands for its experiment files, and says for all of them how they run."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_lem.experiment.campaign import Campaign, read_campaign
from pytest_lem.model.errors import LemError, UsageError
from pytest_lem.plugin import options
from pytest_lem.plugin.experiment_files import shown_for


def unfold(config: pytest.Config) -> None:
    """Put a campaign's files in its place, and its settings where no option says otherwise.

    Raises pytest.UsageError for a campaign that cannot be, or one beside other things to run.
    """
    try:
        campaigns = {arg: found for arg in config.args if (found := _campaign(config, arg)) is not None}
        if not campaigns:
            return
        if len(config.args) > 1:
            raise UsageError(f"{next(iter(campaigns))}: a campaign runs by itself; name it alone")
    except LemError as error:
        raise pytest.UsageError(str(error)) from None
    ((_, campaign),) = campaigns.items()
    config.args = [str(path) for path in campaign.files]
    taken = {name: value for name, value in campaign.settings.items() if options.command(config, name) is None}
    for name, value in taken.items():
        setattr(config.option, f"lem_{name}", value)
    config.stash[options.SAID] = {name: campaign.origins[name] for name in taken}


def _campaign(config: pytest.Config, arg: str) -> Campaign | None:
    path = Path(config.invocation_params.dir, arg)
    return read_campaign(path, shown_for(config)) if arg.endswith(options.EXPERIMENT_FILES) and path.is_file() else None
