"""Every bad file has its own clear error, and none of them is run."""

import os
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from models.errors import (
    MislabelledWeightsError,
    TruncatedWeightsError,
    UnsafeWeightsError,
    UnsupportedNetworkError,
)
from models.loaders import load
from models.loaders.tensors import read_checkpoint
from restore.errors import CorruptWeightsError, PriorError
from tests.models.loaders.openai_layout import state_dict

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.float16)}


class Code:
    """Runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("legacy", [False, True])
def test_pickled_code_is_refused_and_not_run(legacy, tmp_path):
    canary = tmp_path / "canary"
    path = tmp_path / "model.pt"
    torch.save({"state_dict": TENSORS, "hook": Code(canary)}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(UnsafeWeightsError, match=r"system.*not opened") as caught:
        read_checkpoint(path)
    assert not canary.exists() and caught.value.code == "unsafe_weights"
    path.write_bytes(pickle.dumps(Code(canary)))
    with pytest.raises(UnsafeWeightsError, match="would run code"):
        read_checkpoint(path)
    assert not canary.exists()


def test_a_whole_pickled_module_is_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.pth")
    with pytest.raises(UnsafeWeightsError, match=r"torch\.nn.*safetensors"):
        read_checkpoint(tmp_path / "model.pth")


@pytest.mark.parametrize("legacy", [False, True])
def test_both_of_torchs_formats_are_read(legacy, tmp_path):
    torch.save(TENSORS, tmp_path / "model.pt", _use_new_zipfile_serialization=not legacy)
    checkpoint = read_checkpoint(tmp_path / "model.pt")
    assert checkpoint.format == "torch" and checkpoint.tensors.keys() == TENSORS.keys()
    assert torch.equal(checkpoint.tensors["a.weight"], TENSORS["a.weight"])


def test_safetensors_with_metadata(tmp_path):
    save_file(TENSORS, tmp_path / "model.safetensors", {"sigma_data": "0.5"})
    checkpoint = read_checkpoint(tmp_path / "model.safetensors")
    assert checkpoint.metadata == {"sigma_data": "0.5"} and torch.equal(checkpoint.tensors["b"], TENSORS["b"])


@pytest.mark.parametrize("keep", [0.02, 0.3, 0.6, 0.999])
def test_truncated_files_say_so(keep, tmp_path):
    tensors = {f"t{k}": torch.randn(50, 50) for k in range(4)}
    torch.save(tensors, tmp_path / "model.pt")
    save_file(tensors, tmp_path / "model.safetensors")
    for name in ("model.pt", "model.safetensors"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: int(keep * len(whole))])
        with pytest.raises(TruncatedWeightsError, match="ends before"):
            read_checkpoint(tmp_path / name)


def test_an_empty_file_is_truncated(tmp_path):
    (tmp_path / "model.pt").touch()
    with pytest.raises(TruncatedWeightsError, match="empty"):
        read_checkpoint(tmp_path / "model.pt")


def test_a_renamed_file_is_told_apart_by_its_content(tmp_path):
    torch.save(TENSORS, tmp_path / "model.safetensors")
    with pytest.raises(MislabelledWeightsError, match=r"holds a torch checkpoint.*model\.pt"):
        read_checkpoint(tmp_path / "model.safetensors")
    save_file(TENSORS, tmp_path / "model.ckpt")
    with pytest.raises(MislabelledWeightsError, match=r"holds a safetensors checkpoint.*model\.safetensors"):
        read_checkpoint(tmp_path / "model.ckpt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "git lfs pull"),
        (b"\n<html>404</html>", "web page"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "neither"),
        (bytes(1000), "neither"),
    ],
)
def test_what_is_no_checkpoint_is_named(content, message, tmp_path):
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(CorruptWeightsError, match=message):
        read_checkpoint(tmp_path / "model.pt")


def test_a_missing_file_and_a_strange_layout(tmp_path):
    with pytest.raises(CorruptWeightsError, match="no file or folder"):
        load(tmp_path / "nothing.pt")
    save_file(TENSORS, tmp_path / "model.safetensors")
    with pytest.raises(UnsupportedNetworkError, match=r"no layout that is known.*a\.weight"):
        load(tmp_path / "model.safetensors")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(UnsupportedNetworkError, match="no state dict"):
        load(tmp_path / "list.pt")
    with pytest.raises(CorruptWeightsError, match=r"no config\.json and .*name one file"):
        load(tmp_path)


def test_any_flipped_byte_is_a_typed_error_or_harmless(tmp_path):
    """A damaged header must never surface as somebody else's exception."""
    path = tmp_path / "model.pt"
    rng = np.random.default_rng(0)
    for name, write in (("model.pt", torch.save), ("model.safetensors", save_file)):
        path = tmp_path / name
        write(dict(list(state_dict().items())[:3]), path)
        whole = path.read_bytes()
        for place in [*range(0, 64), *rng.integers(0, len(whole), 60), *range(len(whole) - 64, len(whole))]:
            damaged = bytearray(whole)
            damaged[place] ^= 1 << int(rng.integers(0, 8))
            path.write_bytes(damaged)
            try:
                read_checkpoint(path)
            except PriorError as error:
                assert str(path) in str(error)
