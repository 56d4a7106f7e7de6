"""The host halab runs on: what it needs, whether it has it, and how to mend what is missing."""
