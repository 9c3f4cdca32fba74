"""The embedded base model: a tiny Llama that ships with the package, and the script that builds it."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent / "weights"
"""The shipped model, in the layout that ``from_pretrained`` reads."""
