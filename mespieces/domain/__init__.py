"""The product: its rules and its acts, knowing neither web nor queue."""
