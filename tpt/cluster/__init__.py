"""Everything that is Ray's: sampling, judging and training on the nodes of a cluster."""
