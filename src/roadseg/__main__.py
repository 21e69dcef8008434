"""`python -m roadseg` is the same as the command `roadseg`."""

from roadseg.commands.main import run_from_shell

if __name__ == "__main__":
    run_from_shell()
