"""RoundRecords → a table that reads at a glance, and Markdown."""
