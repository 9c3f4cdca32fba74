"""The engine that asks an OpenAI-compatible completions server."""
