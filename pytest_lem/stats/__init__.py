"""Intervals, robust estimates and stopping rules: pure functions of arrays."""
