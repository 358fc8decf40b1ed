"""`python -m distillery`."""

from distillery.cli import main

main()
