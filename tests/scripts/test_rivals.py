"""The benchmark of LDSeg and its rivals: its configurations, its steps and its table."""

import numpy as np
import pytest
import rivals
import yaml
from accuracy_tables import rivals_table

from napari_ldseg.training.config import read_config
from napari_ldseg.training.stages import check_stages


def read(data, name, folder):
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(rivals.configuration(data, name, 100)))
    return read_config(file)


@pytest.mark.parametrize("data", rivals.DATA)
@pytest.mark.parametrize("name", rivals.RIVALS)
def test_each_rival_is_a_configuration(data, name, tmp_path, monkeypatch):
    monkeypatch.setenv("LDSEG_DATA", str(tmp_path))
    monkeypatch.setenv("LIDC_READERS", str(tmp_path))
    config, ours = read(data, name, tmp_path), read(data, "LDSeg", tmp_path)
    metadata = config.metadata([], "no split")
    check_stages(metadata, config.training)
    first = 30 if name == "LSegDiff" else 0
    assert config.training == ours.training.model_copy(update={"autoencoder_updates": first})
    assert (config.data, config.grid) == (ours.data, ours.grid)
    assert metadata.deterministic == (name in ("Res-UNet", "SwinUNETR"))
    if name in ("full-size diffusion", "signed distances"):
        assert metadata.architecture.latent_shape((64, 64)) == (len(config.classes), 64, 64)


def test_the_shortest_training_has_both_stages():
    training = rivals.configuration("camus", "LSegDiff", 2)["training"]
    assert (training["autoencoder_updates"], training["updates"]) == (1, 2)


def test_steps_needed_are_the_fewest_near_the_best():
    assert rivals.needed_steps({1: 0.7, 2: 0.895, 5: 0.9, 10: 0.904}) == 2
    assert rivals.needed_steps({1: 0.5}) == 1


def test_noise_changes_the_image_and_not_the_label(disc_case):
    noisy = rivals.with_noise(disc_case, 0.2)
    assert np.std(noisy.read_scan().array - disc_case.read_scan().array) > 0.05
    assert np.array_equal(noisy.read_label(), disc_case.read_label())


@pytest.fixture
def disc_case():
    from ..discs import discs

    return discs(2, 1)[0]


def test_a_row_without_steps_has_dashes():
    cost = {f"{size}": {"seconds": 1.0, "mib": 500.0} for size in rivals.SIZES}
    figures = {
        "dsc": {"1": 0.9},
        "steps_needed": None,
        "mean_of_samples": {"dsc": 0.9, "nsd": 0.8},
        "noise_loss": {"0.1": 0.01, "0.2": 0.02},
        "cost": cost,
        "weights": 2_000_000,
    }
    facts = {"updates": 7, "seconds_per_update": 0.5}
    content = {"rows": {"Res-UNet": {"figures": figures, **facts}}}
    accuracy, price = (part.splitlines() for part in rivals_table(content).split("\n\n"))
    for head, _, line in (accuracy, price):
        assert head.count("|") == line.count("|")
    assert accuracy[2] == "| Res-UNet | 7 | 0.900 | - | - | - | - | 0.900 | 0.800 | 0.020 |"
    assert price[2].startswith("| Res-UNet | 2.00 | 0.50 | 1.000 |")
    content["readers"] = {
        "Res-UNet": {"figures": {"samples": 1, "ged": {"1": 0.5}}, **facts},
        "LDSeg": {"figures": {"samples": 16, "ged": {"2": 0.4, "10": 0.3}}, **facts},
    }
    readers = rivals_table(content).split("\n\n")[2].splitlines()
    assert readers[2:] == [
        "| Res-UNet | 7 | 1 | 0.500 | - | - |",
        "| LDSeg | 7 | 16 | - | 0.400 | 0.300 |",
    ]
