import os
import subprocess
import sys
from pathlib import Path

from tests.dvc_repository import commit, copy_working_tree, succeeds
from tests.factories import save_model

INSPECT = """
import sys
from pathlib import Path
from safetensors.numpy import load_file, save_file
from roadseg.commands.main import main
from roadseg.provenance.model_metadata import *
from roadseg.provenance.source_code import source_blobs
path = Path(sys.argv[1])
digest = DataDigest(pictures=1, sha256="0" * 64)
provenance = TrainingProvenance(
    code=source_blobs(Path("stages/train.py")), data=TrainingData(train=digest, val=digest),
    model={}, recipe={"name": "none"}, train={}, machine={}, versions={},
)
metadata = read_metadata(path, ModelMetadata).model_copy(
    update={"provenance": provenance, "machines": []}
)
save_file(load_file(path), path, metadata={KEY: metadata.to_json()})
main(["inspect", str(path)])
"""


def test_clone_with_autocrlf_has_unix_line_endings_and_its_commit_is_found(tmp_path: Path):
    copy_working_tree(tmp_path / "origin")
    commit(tmp_path / "origin", "the commit")
    clone = tmp_path / "clone"
    succeeds(tmp_path, "git", "clone", "-q", "-c", "core.autocrlf=true", "origin", "clone")
    assert b"\r" not in (clone / ".ci/run").read_bytes()
    assert "w/crlf" not in succeeds(clone, "git", "ls-files", "--eol")
    model = save_model(tmp_path / "model.safetensors")
    command = [sys.executable, "-c", INSPECT, str(model)]
    variables = {**os.environ, "PYTHONPATH": str(clone / "src")}
    result = subprocess.run(command, cwd=clone, env=variables, capture_output=True, text=True)
    assert "(the commit); the working tree is identical" in result.stdout, result.stderr
