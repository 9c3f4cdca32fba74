"""Attention of a decode step, compiled for the processor."""
