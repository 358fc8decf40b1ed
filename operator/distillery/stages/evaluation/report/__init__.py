"""report.html: one self-contained page that shows an evaluation to people."""
