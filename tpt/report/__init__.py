"""What a run says of itself: a table that reads at a glance, Markdown, and one HTML page."""
