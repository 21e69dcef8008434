"""Write the model card, and the tables as still pictures for it."""

import os
from pathlib import Path

import pandas as pd

from src.command import parsed_paths, run
from src.files import read_json, replaced_file, replaced_folder
from src.model.weights import read_description
from src.report.card import model_card
from src.report.charts import save_class_bars, save_confusion, save_curves


def main(argv: list[str] | None = None) -> None:
    inputs = ("raw", "model", "training", "evaluation", "history", "per-class", "confusion")
    args = parsed_paths(argv, __doc__, *inputs, "card", "figures")
    training, per_class = read_json(args.training), pd.read_csv(args.per_class)
    with replaced_folder(args.figures) as folder:
        save_curves(folder / "curves.png", pd.read_csv(args.history), training["best_epoch"])
        save_class_bars(folder / "per_class.png", per_class)
        save_confusion(folder / "confusion.png", pd.read_csv(args.confusion))
    card = model_card(
        args.model,
        read_description(args.model),
        read_json(args.raw / "manifest.json"),
        training,
        read_json(args.evaluation),
        per_class,
        Path(os.path.relpath(args.figures, args.card.parent)).as_posix(),
    )
    with replaced_file(args.card) as temporary:
        temporary.write_text(card, encoding="utf-8")
    print(f"card: {args.card}, with figures in {args.figures}")


if __name__ == "__main__":
    run(main)
