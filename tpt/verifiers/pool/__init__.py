"""Verifiers that may hang run in processes that can be killed."""
