"""Entry: `python -u child --adapter FILE --read-fd R --write-fd W`, started by `pytest_lem.engines.process`."""

import argparse
import importlib
import importlib.machinery
import importlib.util
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGE = "lem_child"


def leave_path() -> None:
    """Take this folder off the path, where its names would shadow others."""
    here = os.path.realpath(HERE)
    sys.path[:] = [place for place in sys.path if os.path.realpath(place or os.curdir) != here]


def load_package() -> None:
    """Make this folder importable as `lem_child`."""
    loader = importlib.machinery.SourceFileLoader(PACKAGE, os.path.join(HERE, "__init__.py"))
    spec = importlib.machinery.ModuleSpec(PACKAGE, loader, origin=loader.path, is_package=True)
    spec.submodule_search_locations = [HERE]
    sys.modules[PACKAGE] = importlib.util.module_from_spec(spec)
    loader.exec_module(sys.modules[PACKAGE])


def main() -> None:
    """Serve the parent until it says stop; the watching thread ends everything when the parent is gone."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--adapter", required=True)
    parser.add_argument("--read-fd", type=int, required=True)
    parser.add_argument("--write-fd", type=int, required=True)
    arguments = parser.parse_args()
    load_package()
    wire = importlib.import_module(f"{PACKAGE}.wire")
    loop = importlib.import_module(f"{PACKAGE}.loop")
    loop.serve(wire.Wire(arguments.read_fd, arguments.write_fd), arguments.adapter)


leave_path()  # also in workers, which put it there to import what their parent's `__main__` is: mpi4py's do
if __name__ == "__main__":
    main()
