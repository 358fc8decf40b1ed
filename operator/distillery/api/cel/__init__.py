"""Rules in CEL that the API server judges."""
