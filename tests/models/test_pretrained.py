import json
import subprocess
import sys

import pytest
import torch

from models.pretrained import Pretrained, remember_config
from models.unet import DenoisingUNet


class Line(Pretrained):
    @remember_config
    def __init__(self, width: int = 2, *, slope: float = 0.5) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(width, 1)
        self.slope = slope


def test_the_config_is_every_argument_given_or_not():
    assert vars(Line(3).config) == {"width": 3, "slope": 0.5}


def test_a_folder_has_the_layout_that_diffusers_gives_it(tmp_path):
    line = Line(4, slope=2.0)
    folder = tmp_path / "new" / "folder"
    line.save_pretrained(folder)
    assert {path.name for path in folder.iterdir()} == {"config.json", "diffusion_pytorch_model.safetensors"}
    assert json.loads((folder / "config.json").read_text()) == {"_class_name": "Line", "width": 4, "slope": 2.0}
    again = Line.from_pretrained(folder)
    assert torch.equal(again.layer.weight, line.layer.weight) and again.slope == 2.0 and not again.training


@pytest.mark.parametrize(
    ("change", "complaint"),
    [({"_class_name": "Curve"}, "describes a Curve"), ({"colour": 1}, r"unknown settings \['colour'\]")],
)
def test_another_networks_folder_is_refused(tmp_path, change, complaint):
    Line().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=complaint):
        Line.from_pretrained(tmp_path)


def test_half_precision_weights_load_as_float32(tmp_path):
    Line().half().save_pretrained(tmp_path)
    assert Line.from_pretrained(tmp_path).layer.weight.dtype == torch.float32


def test_the_prior_loads_without_diffusers(tmp_path):
    DenoisingUNet(channels=(4,), blocks=(1,), middle=1).save_pretrained(tmp_path)
    code = (
        "import sys; from models.registry import load_folder; from pathlib import Path; "
        f"load_folder(Path({str(tmp_path)!r}), device='cpu'); "
        "assert not {'diffusers', 'onnx', 'onnxruntime'} & sys.modules.keys(), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
