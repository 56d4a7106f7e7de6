"""What a user sees: pure reducers from events to tables, and the two ways to show them (a live screen, plain lines)."""
