"""What an engine is asked to do."""
