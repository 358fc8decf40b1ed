"""Pure judgements on answers: prompts, normalisers, filter rules, label distributions."""
