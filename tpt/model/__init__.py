"""Weights, tokenizer, chat template, and the embedded model."""
