"""Who answers: the parent's side of an engine process, and the process itself under `child/`."""
