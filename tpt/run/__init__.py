"""A run on disk: directory, manifests, lock, journal."""
