"""What is measured, as frozen data."""
