"""The throwaway process that counts, run by its path: the standard library and the engine's own packages only."""
