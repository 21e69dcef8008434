"""Estimates of durations by hand, and measurements with a clock that only the network moves."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from roadseg.config.recipe import TrainingRecipe
from roadseg.data.collate import Batch
from roadseg.data.prepared import PreparedDataset
from roadseg.training import plan, timing
from roadseg.training.schedule import is_halved
from roadseg.training.timing import StepKind, Timing, image_counts, measure_timing
from roadseg.training.train_state import TrainState
from roadseg.training.trainer import Trainer
from tests.factories import make_augmentation, make_params, make_trainer

PLAIN, HALVED = StepKind(halved=False, frozen=False), StepKind(halved=True, frozen=False)
FROZEN, BOTH = StepKind(halved=False, frozen=True), StepKind(halved=True, frozen=True)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> TrainingRecipe:
    return make_params(tmp_path_factory.mktemp("recipe")).recipe


@pytest.mark.parametrize(
    ("halved", "frozen", "expected"),
    [
        (0.0, 0, {PLAIN: 40}),
        (1.0, 0, {HALVED: 40}),
        (0.5, 1, {BOTH: 10, HALVED: 10, PLAIN: 20}),
        (0.25, 3, {BOTH: 10, FROZEN: 20, PLAIN: 10}),
        (0.0, 99, {FROZEN: 40}),
    ],
)
def test_images_of_four_epochs_by_kind_of_step(
    recipe: TrainingRecipe, halved: float, frozen: int, expected: dict
):
    changes = {"halved": halved, "encoder_frozen": frozen}
    assert image_counts(recipe.model_copy(update=changes), 4, 10) == expected


def test_plain_epochs_with_whole_images_are_a_kind_if_others_are_cropped(recipe: TrainingRecipe):
    cropped = make_augmentation(crop=0.5, plain=0.25)
    counts = image_counts(recipe.model_copy(update={"augmentation": cropped, "halved": 0.5}), 4, 10)
    assert counts == {HALVED: 20, PLAIN: 10, StepKind(halved=False, frozen=False, whole=True): 10}
    not_cropped = recipe.model_copy(update={"augmentation": make_augmentation(plain=0.25)})
    assert image_counts(not_cropped, 4, 10) == {PLAIN: 40}


def test_batches_of_plain_epochs_are_whole(prepared: PreparedDataset, tmp_path: Path):
    augmentation = make_augmentation(crop=0.5, plain=0.25)
    trainer = make_trainer(prepared, make_params(tmp_path, epochs=4), augmentation=augmentation)
    state, sizes = trainer.initial_state(), []
    for whole in (False, True):
        batch, count = next(timing._endless_batches(trainer, state, whole))
        assert count == len(batch.masks) == 2
        sizes.append(batch.transforms.size)
    assert sizes[0] in [(16, 24), (17, 25)]  # the images have two sizes
    assert sizes[1] in [(32, 48), (34, 50)]


# an epoch takes 10 * 0.1 + 2 * 1 = 3 s
TIMING = Timing(startup=2, image={PLAIN: 0.1}, validation=1, num_images=10, num_validations=2)


@pytest.mark.parametrize(
    ("seconds", "epochs"), [(62, 20), (63.4, 20), (63.6, 21), (5, 1), (0.1, 1), (1e9, 999)]
)
def test_number_of_epochs_is_the_one_that_comes_closest(
    recipe: TrainingRecipe, seconds: float, epochs: int
):
    assert TIMING.seconds(recipe, 20) == pytest.approx(62)
    assert TIMING.choose_epochs(recipe, seconds) == epochs


def test_description_states_the_estimate_and_a_deviation_beyond_a_tenth(
    recipe: TrainingRecipe,
):
    line = "plan: 1.04 minutes: 20 epochs (step 0.2 s, validation 1 s, about 1 min 2 s)"
    assert plan._describe(TIMING, recipe, 2, 1.04, 20) == line
    first, second = plan._describe(TIMING, recipe, 2, 0.05, 1).splitlines()
    assert first.endswith("1 epochs (step 0.2 s, validation 1 s, about 0 min 5 s)")
    assert second.startswith("plan: this is 67% more than train.minutes, because epochs are whole")


@dataclass
class Clock:
    """A clock that only training steps and validations move."""

    now: float = 100.0
    steps: int = 0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()

    def train_step(trainer: Trainer, state: TrainState, batch: Batch) -> None:
        halved = is_halved(state.step, trainer.total_steps, trainer.recipe.halved)
        frozen = state.epoch < trainer.recipe.encoder_frozen
        clock.now += len(batch.images) * (0.5 if frozen else 1) * (0.25 if halved else 1)
        clock.now += 7 * (clock.steps == 0)
        clock.steps += 1

    def validate(_trainer: Trainer, _state: TrainState) -> None:
        clock.now += 3

    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(Trainer, "train_step", train_step)
    monkeypatch.setattr(Trainer, "validate", validate)
    return clock


def test_each_kind_of_step_is_timed_without_the_first_step(
    prepared: PreparedDataset, tmp_path: Path, clock: Clock
):
    """Six images in batches of 4 and 2: the smaller batch does not distort the duration."""
    params = make_params(tmp_path, epochs=999)
    changes = {"batch_size": 4, "halved": 0.5, "encoder_frozen": 1, "validations_per_epoch": 2}
    measured = measure_timing(make_trainer(prepared, params, **changes), 400, started=90)
    assert measured == Timing(
        startup=(100 - 90) + 7 + 4,  # with the first step, of 4 images
        image={PLAIN: 1, HALVED: 0.25, FROZEN: 0.5, BOTH: 0.125},
        validation=3,
        num_images=6,
        num_validations=2,
    )


def test_batches_never_run_out(prepared: PreparedDataset, tmp_path: Path, clock: Clock):
    """The epochs for which the trainer is built may take less time than the measurement."""
    params = make_params(tmp_path, epochs=2)
    measured = measure_timing(make_trainer(prepared, params), 1200, started=0)
    assert measured.image == {PLAIN: 1}
    assert clock.steps > 3 * 2  # two epochs of three steps
