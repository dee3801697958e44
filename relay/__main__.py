"""``python -m relay``: the command line, for those who have no script of that name at hand."""

from relay.operate.entry import main

if __name__ == "__main__":
    main()
