"""Small language models: create or load, render prompts, score labels, generate. Needs torch."""
