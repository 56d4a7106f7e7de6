"""Clouds kept as they are, RAM and disks and the engine's state: saved together, brought back together, forked."""
