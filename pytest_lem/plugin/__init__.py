"""Pytest's side: the only room that imports pytest."""
