"""The engine in this process: transformers' weights, our own decoding."""
