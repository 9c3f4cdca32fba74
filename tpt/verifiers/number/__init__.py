"""Numbers, exactly."""
