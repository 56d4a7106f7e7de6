"""What the commands do, one module each: `run(...)` returns the exit code."""
