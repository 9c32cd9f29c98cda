"""What keeps this machine from measuring well, and how to mend it. Nothing here sets anything or starts an engine."""
