"""Two engines against each other on the same GPUs: the test's own, and another commit, environment or configuration."""
