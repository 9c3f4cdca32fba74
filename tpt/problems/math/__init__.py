"""Published sets of mathematical problems."""
