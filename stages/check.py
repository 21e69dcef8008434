"""Check all of params.yaml before DVC removes the old outs of the stage that would refuse it."""

from src.config import load_params
from stages.command import parsed_paths, run


def main(argv: list[str] | None = None) -> None:
    args = parsed_paths(argv, __doc__, "params", "out")
    load_params(args.params)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    # Always the same text, so that a changed parameter reruns no stage but those that read it.
    args.out.write_text("params.yaml has been checked\n")


if __name__ == "__main__":
    run(main)
