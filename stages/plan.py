"""Choose the number of epochs and the batch size; measure those that params.yaml leaves open."""

import time
from argparse import Namespace

from roadseg.config.json_files import write_model
from roadseg.config.params import Params, load_params
from roadseg.config.plan_file import Plan, stated_plan
from roadseg.runtime.torchrun import is_first_rank
from roadseg.system.cli import parse_paths, run_main


def main(argv: list[str] | None = None) -> None:
    """Run the stage with the command-line arguments `argv`."""
    args = parse_paths(argv, __doc__, "params", "prepared", "split", "out")
    params = load_params(args.params)
    plan = stated_plan(params) or _measure(params, args)
    if not is_first_rank():
        return
    write_model(args.out, plan)
    print(f"plan: {plan.epochs} epochs, batch size {plan.batch_size}; in {args.out}")


def _measure(params: Params, args: Namespace) -> Plan:
    started = time.perf_counter()
    # imported only if needed: torch takes seconds
    from roadseg.data.prepared import PreparedDataset
    from roadseg.data.split_file import read_split
    from roadseg.runtime.accelerator import join_process_group, select_accelerator
    from roadseg.training.plan import measure_plan

    split, prepared = read_split(args.split), PreparedDataset(args.prepared)
    selected = select_accelerator(params.train.device, params.train.precision)
    with join_process_group(selected) as accelerator:
        return measure_plan(params, prepared, split, accelerator, time.perf_counter() - started)


if __name__ == "__main__":
    run_main(main, less_memory="lower the recipe's batch_size or choose a smaller network")
