"""Programs, by their tests."""
