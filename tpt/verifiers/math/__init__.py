"""Mathematical answers, LaTeX and symbolic."""
