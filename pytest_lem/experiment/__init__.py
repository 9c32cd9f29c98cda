"""Experiment files, `*.lem.yaml`: what they say in their users' words → what the marker `lem` takes."""
