"""The engine's own process: run by this folder's path, under an interpreter that may hold nothing of pytest-lem.

Standard library and the engine only, and the syntax of Python 3.9. `__main__` loads this folder as the package
`lem_child`, so its module names never shadow those of the engine's environment.
"""
