"""`lem config`: experiment files, looked at without measuring anything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pytest_lem.cli.output import FOUND, AsJson, count, refusing, say, say_json

if TYPE_CHECKING:
    from pytest_lem.experiment.check import Checked

File = Annotated[Path, typer.Argument(metavar="FILE", help="an experiment file, such as llama.lem.yaml")]
VALIDATE = "Examples:\n\n  lem config validate experiments/*.lem.yaml\n\n  lem config validate --json llama.lem.yaml"
SHOW = "Examples:\n\n  lem config show llama.lem.yaml\n\n  lem config show --why llama.lem.yaml"
DIFF = "Example:\n\n  lem config diff before.lem.yaml after.lem.yaml"
SCHEMA = "Example:\n\n  lem config schema > lem.schema.json"
NEW = "Example:\n\n  lem config new experiments/llama"

app = typer.Typer(help="Experiment files, without measuring anything.", rich_markup_mode=None, no_args_is_help=True)


@app.command(epilog=VALIDATE)
def validate(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="experiment files, campaigns, or folders of them")
    ],
    as_json: AsJson = False,
) -> None:
    """Check files as a run would read them; each fault is a line with its file and line. Exit status 1 for any."""
    found = [each for file in files for each in (_in_folder(file) if file.is_dir() else _validated(file))]
    if as_json:
        say_json(found)
    else:
        for each in found:
            say(
                each["error"]
                or f"{each['file']}: {count(each['experiments'], 'experiment')}, {count(each['tests'], 'test')}"
            )
            for note in each["notes"]:
                say(f"  {note}")
    raise typer.Exit(FOUND if any(each["error"] for each in found) else 0)


@app.command(epilog=SHOW)
def show(
    file: File,
    why: Annotated[bool, typer.Option("--why", help="every value with the file and line that says it")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what a file comes to, with all that it extends, in the keywords of the marker lem."""
    with refusing("config show"):
        found = _checked(file)
        if as_json:
            say_json(_shown(found))
            return
        for line in found.lines() if why else _keywords(found):
            say(line)
        for note in found.notes:
            say(f"# {note}")


@app.command(epilog=DIFF)
def diff(
    before: Annotated[Path, typer.Argument(metavar="A")],
    after: Annotated[Path, typer.Argument(metavar="B")],
    as_json: AsJson = False,
) -> None:
    """Show in which values two files differ when all is resolved. Exit status 1 where they do."""
    with refusing("config diff"):
        one, other = _checked(before).resolved(), _checked(after).resolved()
        apart = [name for name in {**one, **other} if _values(one.get(name)) != _values(other.get(name))]
        if as_json:
            say_json([{"keyword": name, "a": one.get(name, []), "b": other.get(name, [])} for name in apart])
        else:
            for name in apart:
                say(f"{name}: {_told(one.get(name))} → {_told(other.get(name))}")
            if not apart:
                say(f"{before} and {after} ask for the same")
    raise typer.Exit(FOUND if apart else 0)


@app.command(epilog=SCHEMA)
def schema() -> None:
    """Print the JSON Schema of experiment files, with the installed engines' options, for editors."""
    from pytest_lem.engines import registry
    from pytest_lem.experiment import schema as schemas

    typer.echo(schemas.text(schemas.schema(registry.names())), nl=False)


@app.command(epilog=NEW)
def new(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="the file, with or without .lem.yaml")] = "experiment",
) -> None:
    """Write a commented experiment file to begin with, and the schema by which editors complete it."""
    with refusing("config new"):
        from pytest_lem.engines import registry
        from pytest_lem.experiment import schema as schemas
        from pytest_lem.experiment.experiment import SUFFIX
        from pytest_lem.experiment.starter import starter
        from pytest_lem.model.errors import UsageError

        path = Path(name if name.endswith(SUFFIX) else f"{name}{SUFFIX}")
        if path.exists():
            raise UsageError(f"{path} is there already; name another")
        if not path.parent.is_dir():
            raise UsageError(f"{path}: there is no folder {path.parent}; make it, or name another")
        path.write_text(starter(path.name.removesuffix(SUFFIX), str(path)), encoding="utf-8")
        beside = path.parent / "lem.schema.json"
        beside.write_text(schemas.text(schemas.schema(registry.names())), encoding="utf-8")
        say(f"{path}: measure it with `lem experiment {path}`")
        say(f"{beside}: editors with a YAML language server complete by it")


def _validated(file: Path) -> list[dict[str, Any]]:
    """What is found of a file, and of each that it stands for."""
    from pytest_lem.experiment.check import campaign_or_files
    from pytest_lem.model.errors import LemError

    try:
        _, files = campaign_or_files(file, _name)
    except LemError as error:
        return [_found(file, error=str(error))]
    found = []
    for each in files:
        try:
            checked = _checked(each)
            tests = len(checked.cells)
            found.append(_found(each, experiments=checked.count, tests=tests, notes=list(checked.notes)))
        except LemError as error:
            found.append(_found(each, error=str(error)))
    return found


def _in_folder(folder: Path) -> list[dict[str, Any]]:
    """What is found of each file in a folder, once: those of a campaign outside of it too."""
    from pytest_lem.experiment.experiment import SUFFIX, is_experiment

    files = sorted(path for path in folder.rglob(f"*{SUFFIX}") if is_experiment(path.name))
    if not files:
        return [_found(folder, error=f"{folder}: holds no file called NAME{SUFFIX}")]
    return list({each["file"]: each for file in files for each in _validated(file)}.values())


def _found(file: Path, **facts: Any) -> dict[str, Any]:
    return {"file": _name(file), "error": None, "experiments": 0, "tests": 0, "notes": [], **facts}


def _checked(file: Path) -> Checked:
    """The file over the `lem.yaml` of the folder where the command runs, as pytest reads it there."""
    from pytest_lem.campaign import project
    from pytest_lem.experiment.check import checked

    return checked(file, _name, project.read(Path("lem.yaml")))


def _name(path: Path) -> str:
    """By its path from here, where it lies under it."""
    resolved, here = path.resolve(), Path.cwd().resolve()
    return resolved.relative_to(here).as_posix() if resolved.is_relative_to(here) else str(path)


def _keywords(found: Checked) -> list[str]:
    import yaml

    experiment = found.experiment
    said: dict[str, Any] = {"config_name": experiment.name, **experiment.keywords}
    said |= {"budget": dict(experiment.budgets)} if experiment.budgets else {}
    gates = {gate["metric"]: {key: gate[key] for key in gate if key != "metric"} or None for gate in experiment.gates}
    said |= {"gate": gates} if gates else {}
    text: str = yaml.safe_dump(said, sort_keys=False, allow_unicode=True, width=100)
    return text.splitlines()


def _shown(found: Checked) -> dict[str, Any]:
    experiment = found.experiment
    cells = [{"id": cell.id, "values": found.rows(cell)} for cell in found.cells]
    return {
        "file": experiment.file,
        "name": experiment.name,
        "keywords": experiment.keywords,
        "origins": experiment.origins,
        "budgets": experiment.budgets,
        "gates": experiment.gates,
        "notes": found.notes,
        "experiments": cells,
    }


def _values(rows: Any) -> list[str]:
    return [row.value for row in rows or ()]


def _told(rows: Any) -> str:
    if not rows:
        return "nothing"
    values, origins = ", ".join(row.value for row in rows), dict.fromkeys(row.origin for row in rows)
    return f"{values} ({', '.join(origins)})"
