"""The student stage: kept answers → a small model that gives them."""
