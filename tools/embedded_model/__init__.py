"""The script that builds the embedded model."""
