"""Stage 5: what the student keeps of the teacher's quality, with certainty, and whether it is released."""
