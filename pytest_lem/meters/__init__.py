"""Joules: what a device used over a window, with its uncertainty."""
