"""`python -m pytest_lem.cli`: the command line of this very interpreter, for who knows no PATH."""

from pytest_lem.cli import main

main()
