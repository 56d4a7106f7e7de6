"""Many stacks on one host: which there are, what each takes, and whether another fits beside them."""
