"""`python -m halab`: what ./halab runs."""

from halab.cli import main

if __name__ == "__main__":
    main()
