"""The outside world: storage, keys, mail, clock, documents, each behind a narrow promise."""
