"""The training loop: it learns, is reproducible bit by bit, and measures correctly."""

import csv

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from napari_ldseg.checkpoint.file import Checkpoint, load_checkpoint, save_checkpoint
from napari_ldseg.checkpoint.metadata import Intensity
from napari_ldseg.errors import LDSegError
from napari_ldseg.evaluation.overlap import evaluate, metrics
from napari_ldseg.evaluation.steps import measure_label_steps, measure_posterior_steps
from napari_ldseg.inference.distributed import make_fabric
from napari_ldseg.model.schedule import NoiseSchedule
from napari_ldseg.scans.scan import Scan
from napari_ldseg.training.data import CaseDataset, JointBatches, prepare_case
from napari_ldseg.training.loop import train
from napari_ldseg.training.settings import Augmentation

from ..discs import SIZES, STILL, WIDTHS, case_of, disc, discs, equal, settings


@pytest.fixture(scope="module", params=[(2, 8, 100), (3, 2, 110)], ids=["2D", "3D"])
def trained(request, disc_metadata):
    """A checkpoint trained on discs, its cases, and the losses on the way."""
    dims, n, updates = request.param
    losses = []
    checkpoint = train(
        disc_metadata(dims),
        discs(dims, n),
        [],
        settings(updates=updates, batch_size=8 if dims == 2 else 4),
        on_progress=lambda progress: losses.append(progress.loss),
    )
    return checkpoint, discs(dims, n), losses


@pytest.mark.slow
def test_an_easy_task_is_learned(trained, tiny_checkpoint):
    checkpoint, cases, losses = trained
    for term in ("total", "cross_entropy", "dice", "noise"):
        values = [float(getattr(loss, term)) for loss in losses]
        assert np.isfinite(values).all()
        assert np.mean(values[-10:]) < 0.9 * np.mean(values[:10]), term
    dims = checkpoint.metadata.architecture.dims
    untrained = tiny_checkpoint(dims, grid=checkpoint.metadata.grid, architecture=WIDTHS)
    assert np.nanmean(evaluate(untrained, cases)[:, 0]) < 0.6
    for steps, least in [(2, 0.8), (10, 0.75)]:
        assert np.nanmean(evaluate(checkpoint, cases, steps=steps)[:, 0]) > least


@pytest.mark.slow
def test_a_trained_checkpoint_says_how_it_was_made(trained, tmp_path):
    checkpoint, cases, losses = trained
    assert not checkpoint.model.training
    assert not any(p.requires_grad for p in checkpoint.model.parameters())
    loaded = load_checkpoint(save_checkpoint(checkpoint, tmp_path / "disc.safetensors"))
    assert equal(loaded, checkpoint)
    record = loaded.metadata.training
    assert record.updates == len(losses) and record.settings["learning_rate"] == 5e-3
    assert record.settings["augmentation.rotation"] == "0.0" and record.licence == "BSD-3-Clause"
    assert {"python", "torch", "monai", "napari-ldseg"} <= set(loaded.metadata.software)
    np.testing.assert_array_equal(evaluate(loaded, cases[:2]), evaluate(checkpoint, cases[:2]))


@pytest.mark.parametrize(("known", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_bfloat16_is_only_chosen_where_it_is_fast(disc_metadata, known, precision, monkeypatch):
    capabilities = {"avx512_bf16": known, "amx_bf16": False}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    given = settings(updates=1, precision="auto")
    fabric = make_fabric("cpu", precision=given.precision)
    assert fabric.strategy.precision.precision == precision
    for chosen in (fabric, None):
        checkpoint = train(disc_metadata(2), discs(2, 2), [], given, fabric=chosen)
        assert checkpoint.metadata.training.settings["precision"] == precision


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("dims", [2, 3])
def test_plain_difference_runs(disc_metadata, dims, precision):
    losses = []
    checkpoint = train(
        disc_metadata(dims, parametrisation="plain-difference"),
        discs(dims, 2),
        [],
        settings(updates=3, precision=precision),
        on_progress=lambda progress: losses.append(float(progress.loss.total)),
    )
    assert len(losses) == 3 and np.isfinite(losses).all()
    weights = checkpoint.model.state_dict().values()
    assert all(torch.isfinite(w).all() and w.dtype == torch.float32 for w in weights)


def test_same_seed_gives_bitwise_the_same_weights(disc_metadata):
    def run(seed):
        augmented = settings(updates=4, seed=seed, augmentation=Augmentation(flip_axes=(0,)))
        return train(disc_metadata(2), discs(2, 3), [], augmented)

    first = run(0)
    assert equal(first, run(0)) and not equal(first, run(1))


class Spy(Fabric):
    """Fabric that remembers the module it trains."""

    def setup(self, module, *others, **options):
        self.module = module
        return super().setup(module, *others, **options)


def test_averaged_weights_are_what_is_returned(disc_metadata):
    spy, raw = Spy(devices=1, accelerator="cpu"), []

    def remember(_):
        raw.append({k: v.clone() for k, v in spy.module.model.state_dict().items()})

    run = {"fabric": spy, "on_progress": remember}
    result = train(disc_metadata(2), discs(2, 4), [], settings(updates=6, ema_decay=0.3), **run)
    returned, last = result.model.state_dict(), raw[-1]
    assert len(raw) == 6 and not any(torch.equal(raw[0][k], last[k]) for k in last)
    assert not any(torch.equal(returned[k], last[k]) for k in last)
    for key, value in returned.items():
        expected = raw[0][key]
        # The memory grows as 2/11, 3/12, 4/13, 5/14, ... up to the decay.
        for update, memory in zip(raw[1:], (2 / 11, 3 / 12, 0.3, 0.3, 0.3), strict=True):
            expected = memory * expected + (1 - memory) * update[key]
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-6)


def test_going_on_from_a_checkpoint(disc_metadata):
    start = train(disc_metadata(2), discs(2, 2), [], settings(updates=2))
    gentle = settings(updates=2, learning_rate=1e-9, seed=5)
    result = train(disc_metadata(2), discs(2, 2), [], gentle, start=start)
    for key, value in start.model.state_dict().items():
        torch.testing.assert_close(result.model.state_dict()[key], value, rtol=0, atol=1e-6)
    fresh = train(disc_metadata(2), discs(2, 2), [], gentle)
    assert not equal(fresh, result)


def test_validation_and_log(disc_metadata, tmp_path):
    shown = []
    result = train(
        disc_metadata(2),
        discs(2, 2),
        discs(2, 3)[2:],
        settings(updates=5, validate_every=2),
        folder=tmp_path / "run",
        on_progress=shown.append,
    )
    assert [p.validation_dsc is not None for p in shown] == [False, True, False, True, True]
    expected = np.nanmean(evaluate(result, discs(2, 3)[2:], 1, 2)[:, 0])
    assert shown[-1].validation_dsc == pytest.approx(float(expected), abs=1e-6)
    with (tmp_path / "run" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["update"]) for row in rows] == [1, 2, 3, 4, 5]
    assert float(rows[3]["total"]) == pytest.approx(float(shown[3].loss.total), abs=1e-4)
    assert rows[0]["validation_dsc"] == "" and float(rows[4]["validation_dsc"]) >= 0
    assert shown[-1].update == shown[-1].updates == 5 and shown[-1].seconds_left == 0


@pytest.mark.parametrize(
    "label, words",
    [
        (np.full((16, 16), 2), ("value 2", "0 to 1")),
        (np.eye(16, dtype=int) - 1, ("value -1", "0 to 1")),
        (np.zeros((16, 15), int), ("(16, 15)", "(16, 16)")),
        (np.zeros((1, 16, 16), int), ("(1, 16, 16)", "(16, 16)")),
    ],
)
def test_labels_that_do_not_fit(disc_metadata, label, words, assert_sentence):
    case = case_of("patient seven", lambda: (disc(2, 0)[0], label))
    for run in (
        lambda: prepare_case(disc_metadata(2), case),
        lambda: train(disc_metadata(2), [case], [], settings(updates=1)),
    ):
        with pytest.raises(LDSegError) as error:
            run()
        assert_sentence(error, "patient seven", *words)


def test_runs_that_cannot_succeed(disc_metadata, assert_sentence):
    with pytest.raises(LDSegError) as error:
        train(disc_metadata(2), [], [], settings())
    assert_sentence(error, "training cases")
    with pytest.raises(LDSegError) as error:
        train(disc_metadata(2), discs(2, 2), [], settings(updates=30, learning_rate=1e30))
    assert_sentence(error, "loss", "learning rate")


def samples_equal(first, second):
    return [name for name in first if torch.equal(first[name], second[name])]


@pytest.mark.parametrize("dims", [2, 3])
def test_samples_depend_on_their_key_alone(disc_metadata, dims):
    """Case 2 is case 0 once more: only the key differs."""
    cases = [*discs(dims, 2), discs(dims, 1)[0]]

    def dataset(seed=0):
        return CaseDataset(disc_metadata(dims), cases, Augmentation(flip_axes=(0, 1)), seed)

    used = dataset()
    first = used[3, 0]
    for key in [(0, 1), (4, 0), (3, 2)]:
        used[key]
    everything = ["image", "label", "time", "noise"]
    assert samples_equal(first, used[3, 0]) == samples_equal(first, dataset()[3, 0]) == everything
    for other in (used[4, 0], used[3, 2], dataset(1)[3, 0]):
        assert not {"image", "noise"} & set(samples_equal(first, other))
    n = SIZES[dims]
    assert first["image"].shape == first["label"].shape == (1, *(n,) * dims)
    assert first["image"].dtype == torch.float32 and first["label"].dtype == torch.uint8
    # Tensors of MONAI's own kind would slow down every operation of the networks.
    assert {type(value) for value in first.values()} == {torch.Tensor}
    assert first["noise"].shape == (2, *(n // 2,) * dims) and first["time"].shape == ()
    times = np.array([int(used[epoch, 0]["time"]) for epoch in range(60)])
    assert times.min() >= 0 and times.max() <= 999 and np.ptp(times) > 700


def taken(number, *arguments):
    batches = iter(JointBatches(*arguments))
    return [next(batches) for _ in range(number)]


def test_every_epoch_is_a_new_order_of_all_cases():
    def epochs(seed):
        keys = [key for batch in taken(4, 7, 7, seed) for key in batch]
        return [keys[i : i + 7] for i in range(0, 28, 7)]

    assert epochs(0) == epochs(0) != epochs(1)
    for number, keys in enumerate(epochs(0)):
        assert {epoch for epoch, _ in keys} == {number}
        assert sorted(index for _, index in keys) == list(range(7))
    assert len({tuple(index for _, index in keys) for keys in epochs(0)}) > 1


def test_processes_share_each_joint_batch_and_can_start_anywhere():
    alone = taken(6, 10, 4, 3)
    shares = [taken(6, 10, 4, 3, rank, 2) for rank in range(2)]
    for update in range(6):
        assert sorted(shares[0][update] + shares[1][update]) == sorted(alone[update])
    assert taken(2, 10, 4, 3, 0, 1, 4) == alone[4:]


def test_a_small_cache_changes_no_sample(disc_metadata):
    reads = []

    def counted(i):
        reads.append(i)
        return disc(2, i)

    cases = [case_of(f"disc {i}", lambda i=i: counted(i)) for i in range(3)]
    found = {}
    for budget in (float("inf"), 0, 16 * 16 * 5 + 1):
        reads.clear()
        dataset = CaseDataset(disc_metadata(2), cases, STILL, 0, budget)
        found[budget] = [dataset[0, i]["image"] for _ in range(2) for i in range(3)], len(reads)
    images, counts = zip(*found.values(), strict=True)
    for other in images[1:]:
        assert all(torch.equal(a, b) for a, b in zip(images[0], other, strict=True))
    assert counts[0] == 6 and counts[1] == 12 and counts[2] == 10


@pytest.mark.parametrize("dims", [2, 3])
def test_augmentation_moves_image_and_label_together(disc_metadata, dims):
    """The image is its own label, so it must stay so under every spatial change."""

    def read():
        label = disc(dims, 4)[1]
        label[(slice(0, 4),) * dims] = 1  # a corner, so that turns and flips show
        return Scan(label.astype(np.float32)), label

    spatial = {"rotation": 0.4, "scale": 0.2, "shift": 2.5, "flip_axes": (0, 1)}
    case = case_of("phantom", read)
    dataset = CaseDataset(disc_metadata(dims), [case], STILL.model_copy(update=spatial), 0)
    original = torch.from_numpy(read()[1])
    moved = 0
    for epoch in range(12):
        sample = dataset[epoch, 0]
        agreement = ((sample["image"] > 0.5) == sample["label"].bool()).float().mean()
        assert agreement > 0.97
        assert set(sample["label"].unique().tolist()) <= {0, 1} and sample["label"].any()
        moved += int((sample["label"][0] != original).float().mean() > 0.06)
    assert moved >= 8


def test_no_augmentation_changes_nothing(disc_metadata):
    dataset = CaseDataset(disc_metadata(2), discs(2, 1), STILL, 0)
    image, label, _ = prepare_case(disc_metadata(2), discs(2, 1)[0])
    np.testing.assert_allclose(dataset[0, 0]["image"], image, atol=1e-5)
    np.testing.assert_array_equal(dataset[0, 0]["label"], label)
    noisy = CaseDataset(disc_metadata(2), discs(2, 1), STILL.model_copy(update={"noise": 0.2}), 0)
    samples = [noisy[epoch, 0] for epoch in range(6)]
    assert max(np.abs(s["image"].numpy() - image).max() for s in samples) > 0.05
    assert all(np.array_equal(s["label"], label) for s in samples)


def test_a_noisy_sample_is_normalised_as_a_noisy_image_is(disc_metadata):
    """Min-max of a noisy image squeezes what it shows; the networks must have met that."""
    metadata = disc_metadata(2).model_copy(update={"intensity": Intensity(method="min-max")})
    noisy = CaseDataset(metadata, discs(2, 1), STILL.model_copy(update={"noise": 0.5}), 0)
    image, label, _ = prepare_case(metadata, discs(2, 1)[0])
    inside = label[0].astype(bool)
    contrasts = []
    for epoch in range(6):
        sample = noisy[epoch, 0]["image"].numpy()
        np.testing.assert_allclose([sample.min(), sample.max()], [0, 1], atol=1e-6)
        contrasts.append(sample[0][inside].mean() - sample[0][~inside].mean())
    contrast = image[0][inside].mean() - image[0][~inside].mean()
    assert min(contrasts) < 0.6 * contrast


@pytest.mark.slow
def test_posterior_steps_of_a_known_posterior(disc_metadata, tiny_checkpoint):
    """A denoiser that answers v = 0 is exact for N(0, 1): the spread is a product of cosines."""
    checkpoint = tiny_checkpoint(2)
    torch.nn.init.zeros_(checkpoint.model.denoiser.out.weight)
    torch.nn.init.zeros_(checkpoint.model.denoiser.out.bias)
    steps, spreads = measure_posterior_steps(checkpoint, discs(2, 2), n=16)
    assert steps == 15 and set(spreads) == {250, 3, 4, 5, 6, 8, 10, 15}

    def cosines(k):
        schedule = NoiseSchedule()
        return np.prod(
            np.cos(np.diff([np.arccos(schedule.alpha_bar(t) ** 0.5) for t in schedule.times(k)]))
        )

    for k in spreads:
        assert spreads[k] / spreads[250] == pytest.approx(cosines(k) / cosines(250), rel=1e-3)


@pytest.mark.slow
def test_measured_label_steps_are_the_fewest_that_are_enough(trained):
    checkpoint, cases, _ = trained
    steps = measure_label_steps(checkpoint, cases[:4])
    dsc = {
        k: np.nanmean(evaluate(checkpoint, cases[:4], 1, k)[:, 0]) for k in (2, 3, 5, 10, 20, 50)
    }
    enough = [k for k, value in dsc.items() if value >= dsc[50] - 0.005]
    assert steps == min(enough)


def test_metrics_are_means_over_cases(tiny_metadata):
    results = np.array([[[0.8, 0.5], [0.7, 0.4]], [[0.6, np.nan], [0.5, np.nan]]])
    found = metrics(results, Checkpoint(tiny_metadata(2, 3), torch.nn.Identity()), "kept out", 4, 9)
    assert [(m.name, m.class_name, m.value) for m in found] == [
        ("DSC", "class 1", 0.7),
        ("DSC", "class 2", 0.5),
        ("IoU", "class 1", 0.6),
        ("IoU", "class 2", 0.4),
    ]
    assert [m.cases for m in found] == [2, 1, 2, 1]
    assert {(m.samples, m.steps, m.split) for m in found} == {(4, 9, "kept out")}
