"""Stage 1: raw JSONL files become distinct, split inputs with a coverage table and a leak audit."""
