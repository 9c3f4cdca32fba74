"""Which samples to take, and taking them: samplers, collection, opening an engine."""
