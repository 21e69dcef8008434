"""`roadseg predict` as a user calls it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from roadseg.commands.main import main
from roadseg.config.class_map import read_class_map
from roadseg.inference import batch_predict, predictor
from roadseg.inference.predictor import Predictor
from roadseg.inference.writers import write_prediction
from roadseg.system.errors import InputError
from tests.factories import ROOT, make_striped_pair, save_model

CLASSES = read_class_map(ROOT / "classes/kitti12.yaml")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "model.safetensors")


@pytest.fixture
def raw_images(tmp_path: Path) -> Path:
    """Of several kinds and sizes, one turned by its EXIF data."""
    folder = tmp_path / "pictures"
    (folder / "drive").mkdir(parents=True)
    for shift, name in enumerate(("a.png", "b.JPG", "c.webp", "drive/d.png", "drive/e.png")):
        picture = Image.fromarray(make_striped_pair(40 + shift // 3, 60, shift)[0])
        exif = Image.Exif()
        exif[0x0112] = 6 if name == "b.JPG" else 1  # a quarter turn
        kind = {"JPG": "JPEG", "webp": "WEBP"}.get(name.split(".")[1], "PNG")
        picture.save(folder / name, format=kind, exif=exif)
    return folder


def run(model: Path, out: Path, *arguments: object) -> None:
    options = ["--model", str(model), "--out", str(out), "--device", "cpu", "--precision", "fp32"]
    main(["predict", *options, *map(str, arguments)])


def written(out: Path) -> dict[str, bytes]:
    files = [path for path in out.rglob("*") if path.is_file()]
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def test_a_picture_gives_its_mask_in_colours_in_label_ids_and_over_it(
    model: Path, raw_images: Path, tmp_path: Path, capsys
):
    run(model, tmp_path / "out", raw_images, "--probabilities")
    names = ("a", "b", "c", "drive/d", "drive/e")
    kinds = ("color/{}.png", "label_ids/{}.png", "overlay/{}.jpg", "probabilities/{}.npy")
    expected = {kind.format(name) for kind in kinds for name in names} | {"classes.json"}
    assert written(tmp_path / "out").keys() == expected
    image = np.asarray(Image.open(raw_images / "drive/d.png"))
    (class_ids,) = Predictor(model, "cpu", "fp32").class_ids([image])
    with Image.open(tmp_path / "out/color/drive/d.png") as color:
        assert (np.asarray(color) == class_ids).all()  # a palette's indices
        assert (np.asarray(color.convert("RGB")) == CLASSES.colors[class_ids]).all()
    label_ids = np.asarray(Image.open(tmp_path / "out/label_ids/drive/d.png"))
    assert set(np.unique(label_ids)) <= {0, 7, 8, 11, 17, 20, 21, 23, 24, 26, 31, 33}
    assert (CLASSES.table()[0][label_ids] == class_ids).all()
    overlay = np.asarray(Image.open(tmp_path / "out/overlay/drive/d.jpg")).astype(int)
    assert abs(overlay - (image // 2 + CLASSES.colors[class_ids] // 2)).mean() < 8  # JPEG
    chances = np.load(tmp_path / "out/probabilities/drive/d.npy").astype(np.float32)
    chosen = np.take_along_axis(chances, class_ids[None].astype(int), axis=0)[0]
    assert (chosen >= chances.max(0) - 0.001).all()  # float16
    assert np.allclose(chances.sum(0), 1, atol=0.01)
    with Image.open(tmp_path / "out/color/b.png") as turned:
        assert turned.size == (40, 60)  # as it is looked at
    described = json.loads((tmp_path / "out/classes.json").read_text())
    assert described[1] == {"class_id": 1, "name": "road", "color": [128, 64, 128], "label_id": 7}
    said = capsys.readouterr().out
    assert f"predict: 5 images by {model} on cpu, in {tmp_path / 'out'}" in said
    assert "%" in said.splitlines()[1]


def test_batches_and_tiles_change_no_mask(model: Path, raw_images: Path, tmp_path: Path):
    run(model, tmp_path / "one", raw_images)
    run(model, tmp_path / "batches", raw_images, "--batch-size", 3)
    run(model, tmp_path / "tiles", raw_images, "--tile", 64)
    one = written(tmp_path / "one")
    assert one == written(tmp_path / "batches") == written(tmp_path / "tiles")


def test_what_cannot_be_read_is_named_and_the_rest_goes_on(
    model: Path, raw_images: Path, tmp_path: Path
):
    (raw_images / "a0.png").write_bytes(b"nothing")
    whole = (raw_images / "drive/d.png").read_bytes()
    (raw_images / "drive/d0.png").write_bytes(whole[: len(whole) // 2])
    command = [
        sys.executable,
        *("-m", "roadseg", "predict"),
        str(raw_images),
        "--model",
        str(model),
    ]
    command += ["--out", str(tmp_path / "out"), "--device", "cpu"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 1
    errors = result.stderr.splitlines()
    assert errors[0].startswith(f"error: {raw_images}/a0.png: not a picture")
    assert errors[1].startswith(f"error: {raw_images}/drive/d0.png: cannot be decoded")
    assert errors[2] == "error: 2 of 7 images could not be predicted; see above"
    assert len(errors) == 3  # no progress bar where nobody looks
    done = {path.stem for path in (tmp_path / "out/label_ids").rglob("*.png")}
    assert done == {"a", "b", "c", "d", "e"}


def test_who_has_seen_enough_of_the_summary_sees_no_error(model, raw_images, tmp_path):
    """predict | head -0"""
    command = [
        sys.executable,
        *("-m", "roadseg", "predict"),
        str(raw_images),
        "--model",
        str(model),
    ]
    command += ["--out", str(tmp_path / "out"), "--device", "cpu"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 0
    assert len(list((tmp_path / "out/color").rglob("*.png"))) == 5


def test_nothing_is_left_of_a_picture_that_fails(model, raw_images, tmp_path, capsys):
    """An older run's classes would be taken for this one's."""
    out = tmp_path / "out"
    run(model, out, raw_images, "--probabilities")
    before = written(out)
    (raw_images / "a.png").write_bytes(b"no picture any more")
    with pytest.raises(InputError, match="1 of 5 images could not be predicted"):
        run(model, out, raw_images)
    gone = {"color/a.png", "label_ids/a.png", "overlay/a.jpg", "probabilities/a.npy"}
    assert written(out) == {name: data for name, data in before.items() if name not in gone}
    (out / "color/a.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="1 of 1"):  # the user's own, whatever it is
        run(model, out, out / "color/a.png")
    assert (out / "color/a.png").is_file()


def test_what_folders_hold_beside_pictures_is_counted(model, raw_images, tmp_path, capsys):
    for name in ("a.tif", "drive/b.TIF", "c.bmp", "drive/README", ".hidden.gif"):
        (raw_images / name).touch()
    run(model, tmp_path / "out", raw_images)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("predict: 5 images by ")
    beginning, kinds = said[2].split(": ")
    assert beginning == "  skipped files of unsupported type"
    assert sorted(kinds.split(", ")) == [
        *("1 .bmp", "1 without suffix", "2 .tif"),
    ]


@pytest.mark.parametrize(
    ("options", "advice"), [([], "--tile or --scale"), (["--batch-size", "2"], "--batch-size")]
)
def test_a_network_that_needs_too_much_memory_names_the_options(
    model, tmp_path, capsys, monkeypatch, options, advice
):
    """The allocator is replaced: libraries may crash where the system refuses memory."""

    def refuse(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    same_size = tmp_path / "same_size"
    same_size.mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(make_striped_pair(32, 48, 0)[0]).save(same_size / name)
    monkeypatch.setattr(predictor, "mean_logits", refuse)
    with pytest.raises(InputError, match="images could not be predicted"):
        run(model, tmp_path / "out", same_size, *options)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == (1 if options else 2)
    assert all(line.startswith("error: ") for line in lines)
    assert all(line.endswith(f"out of memory; try a smaller {advice}") for line in lines)
    assert not list((tmp_path / "out").rglob("*.png"))


def test_memory_that_runs_out_costs_one_picture(model, raw_images, tmp_path, capsys, monkeypatch):
    def written_but(folder: Path, name: str, *more: object) -> None:
        if name == "drive/d":
            raise MemoryError
        write_prediction(folder, name, *more)

    monkeypatch.setattr(batch_predict, "write_prediction", written_but)
    with pytest.raises(InputError, match="1 of 5 images"):
        run(model, tmp_path / "out", raw_images)
    error = f"error: {raw_images}/drive/d.png: out of memory while writing mask and overlay\n"
    assert capsys.readouterr().err == error
    assert len(list((tmp_path / "out/color").rglob("*.png"))) == 4


def test_a_second_run_leaves_out_what_the_first_has_made(model: Path, raw_images: Path, capsys):
    for _ in range(2):
        run(model, raw_images / "made", raw_images)
        assert "predict: 5 images" in capsys.readouterr().out


def test_names_that_continue_each_other_do_not_disturb_each_other(model: Path, tmp_path: Path):
    """x.png.jpg is written as x.png.png, beside x.png."""
    (tmp_path / "in").mkdir()
    for number in range(12):
        picture = Image.fromarray(make_striped_pair(60, 90, number)[0])
        picture.save(tmp_path / f"in/{number}.png")
        picture.resize((900, 600)).save(tmp_path / f"in/{number}.png.jpg")
    names = [f"{tmp_path}/in/{i}{end}" for i in range(12) for end in (".png.jpg", ".png")]
    run(model, tmp_path / "out", *names)
    assert len(list((tmp_path / "out/label_ids").iterdir())) == 24


def test_what_cannot_be_written_or_is_too_large_is_left_out(model, raw_images, tmp_path, capsys):
    Image.new("RGB", (66_000, 1)).save(raw_images / "wide.png")  # wider than JPEG allows
    with pytest.raises(InputError, match="1 of 6 images could not be predicted"):
        run(model, tmp_path / "out", raw_images)
    assert "overlay/wide.jpg: cannot be written: " in capsys.readouterr().err
    assert not list((tmp_path / "out").rglob("*wide*"))  # nor the files that could be
    grouped = save_model(tmp_path / "group.safetensors", norm="group")
    large = raw_images / "large.png"
    Image.new("RGB", (200, 100)).save(large)
    with pytest.raises(InputError, match="1 of 2 images"):
        run(grouped, tmp_path / "group", large, raw_images / "a.png", "--tile", 64)
    error = capsys.readouterr().err
    assert error.startswith(f"error: {large}: 100x200 pixels would pass by tiles of 64, ")
    assert (tmp_path / "group/label_ids/a.png").is_file()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--tile", "100", "not a multiple of 16 of at least 64"),
        ("--scale", "x", "not a number from 0.01 to 4"),
        ("--batch-size", "0", "not an integer of at least 1"),
    ],
)
def test_wrong_options_are_refused(model, raw_images, tmp_path, capsys, option, value, message):
    with pytest.raises(SystemExit, match="2"):
        run(model, tmp_path / "out", raw_images, option, value)
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_nothing_is_written_where_nothing_can_be_predicted(model, raw_images, tmp_path):
    for arguments, message in (
        ((tmp_path / "nowhere",), "no pictures"),
        ((raw_images, "--device", "cuda:99"), "--device: cuda:99: this computer has"),
        ((raw_images, "--device", "meta"), "--device: unknown device 'meta'"),
        (("",), "no pictures"),
    ):
        with pytest.raises(InputError, match=message):
            run(model, tmp_path / "out", *arguments)
    assert not (tmp_path / "out").exists()
