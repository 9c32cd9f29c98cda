"""Which experiments a run is made of."""
