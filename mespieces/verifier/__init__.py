"""The journal's format and its offline verification: imports nothing of the product, so that an auditor can read it alone."""
