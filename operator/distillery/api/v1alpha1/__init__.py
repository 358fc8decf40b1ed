"""Version v1alpha1 of the objects of group distillery.dev."""
