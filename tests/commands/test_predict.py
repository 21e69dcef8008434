"""`roadseg predict`, as called on the command line."""

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
    """Images of several formats and sizes, one of them rotated by its EXIF data."""
    folder = tmp_path / "pictures"
    (folder / "drive").mkdir(parents=True)
    for shift, name in enumerate(("a.png", "b.JPG", "c.webp", "drive/d.png", "drive/e.png")):
        image = Image.fromarray(make_striped_pair(40 + shift // 3, 60, shift)[0])
        exif = Image.Exif()
        exif[0x0112] = 6 if name == "b.JPG" else 1  # a quarter turn
        kind = {"JPG": "JPEG", "webp": "WEBP"}.get(name.split(".")[1], "PNG")
        image.save(folder / name, format=kind, exif=exif)
    return folder


def run(model: Path, out: Path, *arguments: object) -> None:
    options = ["--model", str(model), "--out", str(out), "--device", "cpu", "--precision", "fp32"]
    main(["predict", *options, *map(str, arguments)])


def read_files(out: Path) -> dict[str, bytes]:
    files = [path for path in out.rglob("*") if path.is_file()]
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def test_predict_writes_colors_label_ids_overlays_and_probabilities(
    model: Path, raw_images: Path, tmp_path: Path, capsys
):
    run(model, tmp_path / "out", raw_images, "--probabilities")
    names = ("a", "b", "c", "drive/d", "drive/e")
    kinds = ("color/{}.png", "label_ids/{}.png", "overlay/{}.jpg", "probabilities/{}.npy")
    expected = {kind.format(name) for kind in kinds for name in names}
    expected |= {"classes.json", "models.json"}
    assert read_files(tmp_path / "out").keys() == expected
    image = np.asarray(Image.open(raw_images / "drive/d.png"))
    (class_ids,) = Predictor([model], "cpu", "fp32").class_ids([image])
    with Image.open(tmp_path / "out/color/drive/d.png") as color:
        assert (np.asarray(color) == class_ids).all()  # palette indices
        assert (np.asarray(color.convert("RGB")) == CLASSES.colors[class_ids]).all()
    label_ids = np.asarray(Image.open(tmp_path / "out/label_ids/drive/d.png"))
    assert set(np.unique(label_ids)) <= {0, 7, 8, 11, 17, 20, 21, 23, 24, 26, 31, 33}
    assert (CLASSES.table()[0][label_ids] == class_ids).all()
    overlay = np.asarray(Image.open(tmp_path / "out/overlay/drive/d.jpg")).astype(int)
    assert abs(overlay - (image // 2 + CLASSES.colors[class_ids] // 2)).mean() < 8  # JPEG
    probabilities = np.load(tmp_path / "out/probabilities/drive/d.npy").astype(np.float32)
    chosen = np.take_along_axis(probabilities, class_ids[None].astype(int), axis=0)[0]
    assert (chosen >= probabilities.max(0) - 0.001).all()  # float16
    assert np.allclose(probabilities.sum(0), 1, atol=0.01)
    with Image.open(tmp_path / "out/color/b.png") as upright:
        assert upright.size == (40, 60)
    classes = json.loads((tmp_path / "out/classes.json").read_text())
    assert classes[1] == {"class_id": 1, "name": "road", "color": [128, 64, 128], "label_id": 7}
    output = capsys.readouterr().out
    assert f"predict: 5 images by {model} on cpu, in {tmp_path / 'out'}" in output
    assert "%" in output.splitlines()[1]


def test_batches_and_tiles_do_not_change_masks(model: Path, raw_images: Path, tmp_path: Path):
    run(model, tmp_path / "one", raw_images)
    run(model, tmp_path / "batches", raw_images, "--batch-size", 3)
    run(model, tmp_path / "tiles", raw_images, "--tile", 64)
    one = read_files(tmp_path / "one")
    assert one == read_files(tmp_path / "batches") == read_files(tmp_path / "tiles")


def test_unreadable_images_are_listed_and_the_others_predicted(
    model: Path, raw_images: Path, tmp_path: Path, capsys
):
    (raw_images / "a0.png").write_bytes(b"nothing")
    whole = (raw_images / "drive/d.png").read_bytes()
    (raw_images / "drive/d0.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"^2 of 7 images could not be predicted; see above$"):
        run(model, tmp_path / "out", raw_images)
    errors = capsys.readouterr().err.splitlines()
    assert errors[0].startswith(f"error: {raw_images}/a0.png: not a PNG")
    assert errors[1].startswith(f"error: {raw_images}/drive/d0.png: cannot be decoded")
    assert len(errors) == 2  # no progress bar without a terminal
    done = {path.stem for path in (tmp_path / "out/label_ids").rglob("*.png")}
    assert done == {"a", "b", "c", "d", "e"}


def test_closed_pipe_is_no_error(model, raw_images, tmp_path):
    """As in `roadseg predict .. | head -0`."""
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


def test_outputs_of_an_earlier_run_are_deleted_if_an_image_fails(model, raw_images, tmp_path):
    """They could be mistaken for outputs of this run."""
    out = tmp_path / "out"
    run(model, out, raw_images, "--probabilities")
    before = read_files(out)
    (raw_images / "a.png").write_bytes(b"not an image")
    with pytest.raises(InputError, match="1 of 5 images could not be predicted"):
        run(model, out, raw_images, "--probabilities")
    gone = {"color/a.png", "label_ids/a.png", "overlay/a.jpg", "probabilities/a.npy"}
    assert read_files(out) == {name: data for name, data in before.items() if name not in gone}
    (out / "color/a.png").write_bytes(b"not an image")
    with pytest.raises(InputError, match="1 of 1"):  # a file of the user
        run(model, out, out / "color/a.png")
    assert (out / "color/a.png").is_file()


def test_probabilities_of_an_earlier_run_are_deleted(model, raw_images, tmp_path):
    run(model, tmp_path / "out", raw_images / "drive", "--probabilities")
    run(model, tmp_path / "out", raw_images / "drive/d.png", raw_images / "drive")
    assert not list((tmp_path / "out/probabilities").iterdir())


def test_image_whose_results_cannot_be_written_leaves_none(model, raw_images, tmp_path):
    (tmp_path / "out/overlay").mkdir(parents=True)
    (tmp_path / "out/overlay/drive").touch()
    (tmp_path / "out/classes.json").write_text("[]")
    with pytest.raises(OSError, match="drive"):
        run(model, tmp_path / "out", raw_images / "drive", raw_images)
    assert not list((tmp_path / "out").rglob("drive/*"))


def test_files_of_unsupported_type_are_counted(model, raw_images, tmp_path, capsys):
    for name in ("a.heic", "drive/b.HEIC", "c.ppm", "drive/README", ".hidden.gif"):
        (raw_images / name).touch()
    run(model, tmp_path / "out", raw_images)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("predict: 5 images by ")
    title, counts = lines[2].split(": ")
    assert title == "  skipped files of unsupported type"
    assert sorted(counts.split(", ")) == [
        *("1 .ppm", "1 without suffix", "2 .heic"),
    ]


@pytest.mark.parametrize(
    ("options", "advice"), [([], "--tile or --scale"), (["--batch-size", "2"], "--batch-size")]
)
def test_out_of_memory_error_names_the_options_that_lower_it(
    model, tmp_path, capsys, monkeypatch, options, advice
):
    """The error is simulated, because libraries may crash if the system refuses memory."""

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


def test_out_of_memory_in_writing_fails_one_image(model, raw_images, tmp_path, capsys, monkeypatch):
    def fail_once(folder: Path, name: str, *rest: object) -> None:
        if name == "drive/d":
            raise MemoryError
        write_prediction(folder, name, *rest)

    monkeypatch.setattr(batch_predict, "write_prediction", fail_once)
    with pytest.raises(InputError, match="1 of 5 images"):
        run(model, tmp_path / "out", raw_images)
    error = f"error: {raw_images}/drive/d.png: out of memory while writing mask and overlay\n"
    assert capsys.readouterr().err == error
    assert len(list((tmp_path / "out/color").rglob("*.png"))) == 4


def test_second_run_skips_the_output_of_the_first(model: Path, raw_images: Path, capsys):
    for _ in range(2):
        run(model, raw_images / "output", raw_images)
        assert "predict: 5 images" in capsys.readouterr().out


def test_images_whose_names_extend_each_other_are_all_written(model: Path, tmp_path: Path):
    """x.png.jpg is written as x.png.png, next to x.png."""
    (tmp_path / "in").mkdir()
    for number in range(6):
        image = Image.fromarray(make_striped_pair(60, 90, number)[0])
        image.save(tmp_path / f"in/{number}.png")
        image.resize((900, 600)).save(tmp_path / f"in/{number}.png.jpg")
    names = [f"{tmp_path}/in/{i}{end}" for i in range(6) for end in (".png.jpg", ".png")]
    run(model, tmp_path / "out", *names)
    assert len(list((tmp_path / "out/label_ids").iterdir())) == 12


def test_images_too_large_for_jpeg_are_errors(model, raw_images, tmp_path, capsys):
    Image.new("RGB", (66_000, 1)).save(raw_images / "wide.png")  # wider than JPEG allows
    with pytest.raises(InputError, match="1 of 6 images could not be predicted"):
        run(model, tmp_path / "out", raw_images)
    assert "overlay/wide.jpg: cannot be written: " in capsys.readouterr().err
    assert not list((tmp_path / "out").rglob("*wide*"))  # not even files that can be written


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--tile", "100", "not a multiple of 16 of at least 64"),
        ("--scale", "x", "not a number from 0.01 to 4"),
        ("--batch-size", "0", "not an integer of at least 1"),
    ],
)
def test_invalid_options_are_refused(model, raw_images, tmp_path, capsys, option, value, message):
    with pytest.raises(SystemExit, match="2"):
        run(model, tmp_path / "out", raw_images, option, value)
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_nothing_is_written_without_images_or_device(model, raw_images, tmp_path):
    for arguments, message in (
        ((tmp_path / "nowhere",), "nowhere: no such file or directory"),
        ((raw_images, "--device", "cuda:99"), "--device: cuda:99: this computer has"),
        ((raw_images, "--device", "meta"), "--device: unknown device 'meta'"),
        (("",), "no images found"),
    ):
        with pytest.raises(InputError, match=message):
            run(model, tmp_path / "out", *arguments)
    assert not (tmp_path / "out").exists()


def test_hidden_folders_are_neither_predicted_nor_counted(model, raw_images, tmp_path, capsys):
    whole = (raw_images / "a.png").read_bytes()
    for folder in (".ipynb_checkpoints", ".thumbnails", "drive/.Trash-1000/files"):
        (raw_images / folder).mkdir(parents=True)
        (raw_images / folder / "hidden.png").write_bytes(whole)
        (raw_images / folder / "notes.txt").touch()
    run(model, tmp_path / "out", raw_images)
    printed = capsys.readouterr().out
    assert printed.startswith("predict: 5 images by ")
    assert "skipped" not in printed
    assert not list((tmp_path / "out").rglob("*hidden*"))


@pytest.mark.parametrize("folder", ["pictures", "."])
def test_results_can_be_written_next_to_the_images(model, raw_images, monkeypatch, folder, capsys):
    monkeypatch.chdir(raw_images.parent)
    for _ in range(2):
        run(model, Path("."), folder)
        printed = capsys.readouterr().out
        assert printed.startswith("predict: 5 images by ")
        assert "skipped" not in printed
    name = "a" if folder == "pictures" else "pictures/a"
    assert Path(f"color/{name}.png").is_file()
    assert len(list(Path("color").rglob("*.png"))) == 5
    (raw_images / "a.png").write_bytes(b"not an image")
    with pytest.raises(InputError, match="1 of 5 images could not be predicted"):
        run(model, Path("."), folder)
    assert not Path(f"color/{name}.png").exists()
