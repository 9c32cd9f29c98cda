"""FLOPs and bytes of inference, from a model's configuration or counted on it, and what devices can do."""
