"""Can problems, gold answers and verdicts be trusted: checks, label noise, human audits, imported samples."""
