"""How fast halab is on this host, each figure beside a baseline that was taken in the same run."""
