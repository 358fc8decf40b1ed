"""Stage 2: the teacher answers training and validation rows."""
