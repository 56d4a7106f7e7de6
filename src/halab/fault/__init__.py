"""Faults on purpose, and what a client of the cloud notices of them."""
