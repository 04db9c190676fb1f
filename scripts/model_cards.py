"""Write each bundled model's card and the README's table of models, from the checkpoints' metadata."""

from __future__ import annotations

from pathlib import Path

from accuracy_tables import evaluated

from napari_ldseg.checkpoint.bundled import bundled_checkpoints
from napari_ldseg.checkpoint.header import read_metadata
from napari_ldseg.checkpoint.metadata import Metadata
from napari_ldseg.commands.info import describe_calibration

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PLOTS = ROOT / "docs" / "images" / "models"
START = "<!-- models: written by scripts/model_cards.py -->"
END = "<!-- end of models -->"
CLEAN, NOISY = (evaluated("lidc", "noise", "DSC", noise=sd, digits=2) for sd in (0.0, 0.2))
USE = {
    "echo-phantom": (
        "Trying the plugin on the bundled 2D sample. Not for real echocardiograms. The generator of "
        "its data is `scripts/phantoms.py`."
    ),
    "mri-phantom": (
        "Trying the plugin on the bundled 3D sample. Not for real MRI. The generator of its data is "
        "`scripts/phantoms.py`."
    ),
    "camus": "Research on apical echocardiograms cropped to the sector, as in CAMUS.",
    "glas": "Research on H&E-stained sections of the colon at 20x, fields of about 0.5 x 0.3 mm.",
    "lidc": "Research on how far readers disagree about a lung nodule, in CT crops centred on it.",
    "hippocampus": "Research on T1 MRI cropped around one hippocampus (about 35 x 50 x 36 mm).",
    "retina-vessels": "Research on colour photographs of the retina, the optic disc or the macula in the centre.",
    "retina-disc-cup": "Research on colour photographs of the retina that show the optic disc.",
}
KNOWN_FAILURES = {
    "retina-vessels": (
        "Trained on a CPU in minutes: the thinnest vessels are missed, more of them on another camera, and lesions and "
        "reflections can be taken for vessels. Arteries and veins are not told apart. The photograph is made as small as 768 pixels. "
        "Its training began from a model of the training photographs of two of its three cameras."
    ),
    "retina-disc-cup": (
        "Trained on a CPU in minutes, on 34 photographs of one camera, centred on the optic disc, at 256 x 256 pixels: "
        "outlines are not exact to the pixel. On other cameras, on swollen discs and beside large lesions it is not "
        "known. The cup is an estimate from colour; its depth is not seen."
    ),
    "camus": (
        "Other views than the apical 2- and 4-chamber view, Doppler overlays, and images that are not "
        "cropped to the sector. Trained on 128 x 128 pixels: outlines are not exact to the pixel of a "
        "larger image. The data were resized to a square, so there are no millimetres."
    ),
    "echo-phantom": (
        "Acoustic shadows that hide most of a chamber; anything that is not a phantom of this "
        "generator."
    ),
    "mri-phantom": "Anything that is not a phantom of this generator.",
    "glas": (
        "Trained on a CPU, on 60 images at 256 x 256 pixels: glands that touch become one, large glands filled "
        "with mucus or debris are missed in part, and samples show glands in muscle. Other organs, stains, "
        "scanners and magnifications, and whole slides. The split is by image, because the files do not name "
        "the patients: images of one patient may be in both parts, so the metrics are too good."
    ),
    "lidc": (
        "Anything but a crop of 64 x 64 pixels like those it was trained on, with one nodule "
        "in its centre: it neither finds nodules in a whole slice nor tells nodules from vessels. An empty "
        "sample means that some readers saw no nodule, not that there is none. Trained on a CPU, it often "
        "misses nodules that are small or touch the pleura. Its samples differ only in part where the readers do, "
        f"and noise costs it more than the other models (DSC {CLEAN} to {NOISY} at SD 0.2). The DSC is against the readers' "
        "majority; it is 0 in a slice where the model shows a nodule and the majority saw none."
    ),
    "hippocampus": (
        "Whole-head scans (the plugin asks for a box), other contrasts than T1, and pathology, none "
        "of which were in the training data. The border between anterior and posterior is a "
        "convention of the annotators and is where most errors are."
    ),
}
CITATION = {
    "retina-vessels": (
        "Data: J. Staal et al., IEEE Transactions on Medical Imaging 23(4), 2004 (DRIVE); M. M. Fraz et al., IEEE Transactions "
        "on Biomedical Engineering 59(9), 2012 (CHASE_DB1, CC BY 4.0); A. D. Hoover et al., IEEE Transactions on Medical Imaging "
        "19(3), 2000 (STARE). DRIVE and STARE are for research only; so are the weights."
    ),
    "retina-disc-cup": (
        "Data: J. Sivaswamy et al., Drishti-GS: retinal image dataset for optic nerve head (ONH) segmentation, ISBI "
        "2014, and JSM Biomedical Imaging Data Papers 2(1), 2015. The data are for research only; so are the weights."
    ),
    "camus": (
        "Data: S. Leclerc et al., Deep learning for segmentation using an open large-scale dataset in 2D "
        "echocardiography, IEEE Transactions on Medical Imaging 38(9), 2019. The weights are shared "
        "under the data's licence, which forbids commercial use."
    ),
    "glas": (
        "Data: K. Sirinukunwattana et al., Gland segmentation in colon histology images: the GlaS challenge "
        "contest, Medical Image Analysis 35, 2017. The data are for research only; so are the weights."
    ),
    "lidc": (
        "Data: S. G. Armato III et al., The Lung Image Database Consortium (LIDC) and Image Database Resource "
        "Initiative (IDRI), Medical Physics 38(2), 2011, from The Cancer Imaging Archive, CC BY 3.0."
    ),
    "hippocampus": (
        "Data: A. L. Simpson et al., A large annotated medical image dataset for the development and "
        "evaluation of segmentation algorithms, arXiv 1902.09063 (Medical Segmentation Decathlon, "
        "Task04). The weights are shared under the data's licence."
    ),
}


def card(metadata: Metadata) -> str:
    """Return the model card as Markdown."""
    lines = [
        f"# {metadata.name}",
        "",
        metadata.description,
        "",
        f"- **Use**: {USE[metadata.name]} For research only; not for diagnosis or treatment.",
        f"- **Classes**: {', '.join(c.name for c in metadata.classes)}",
        f"- **Data**: {metadata.training.data}",
        f"- **Licence**: {metadata.training.licence}",
        f"- **Split**: {metadata.training.split}",
        *_networks(metadata),
        f"- **Calibration**: {describe_calibration(metadata.calibration)}",
        f"- **Known failures**: {KNOWN_FAILURES[metadata.name]}",
        "",
        "Means over held-out cases, each on its own voxel grid:",
        "",
        "| metric | class | value | part | cases | samples N | steps K |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {m.name} | {m.class_name} | {m.value:.3f} | {m.split} | {m.cases} | {m.samples} | {m.steps} |"
        for m in metadata.metrics
    ]
    if (PLOTS / f"{metadata.name}.png").is_file():
        plot = f"../../docs/images/models/{metadata.name}.png"
        lines += ["", f"![Metrics of the held-out cases]({plot})"]
    if metadata.name in CITATION:
        lines += ["", CITATION[metadata.name]]
    return "\n".join(lines) + "\n"


def _networks(metadata: Metadata) -> list[str]:
    """Return the card's lines about training, networks and steps."""
    arch, settings = metadata.architecture, metadata.training.settings
    training = (
        f"- **Training**: {metadata.training.updates} updates of batch {settings['batch_size']}"
    )
    if metadata.networks == "unet":
        patch = settings["patch"]
        parts = f" of parts of {patch} x {patch} pixels" if patch else ""
        widths = ", ".join(map(str, arch.image_widths))
        return [
            training + parts,
            f"- **Networks**: a {arch.dims}D U-Net of widths {widths}, on {arch.patch} x {arch.patch} pixels at once",
            "- **Samples**: the U-Net is deterministic; the samples are its answers for the image mirrored and "
            "turned, and the label map is their mean",
        ]
    return [
        f"{training}, {metadata.parametrisation} parametrisation, {metadata.schedule} schedule",
        f"- **Networks**: {arch.dims}D, {arch.downsamplings} down-samplings, "
        f"{arch.latent_channels} latent and {arch.embedding_channels} embedding channels",
        f"- **Steps**: {metadata.label_steps} for a label map, {metadata.posterior_steps} for "
        "samples whose spread is shown",
    ]


def table() -> str:
    """Return the table of the bundled models as Markdown: what each is for, how good, whose data."""
    rows = ["| name | segments | held-out DSC | measured on | licence |", "|---|---|---|---|---|"]
    rows += [_row(read_metadata(path)) for path in bundled_checkpoints().values()]
    return "\n".join(rows)


def _row(metadata: Metadata) -> str:
    samples = max(m.samples for m in metadata.metrics if m.name == "DSC")
    measured = [m for m in metadata.metrics if m.name == "DSC" and m.samples == samples]
    scores = [f"{m.class_name} {m.value:.3f}" for m in measured]
    last = measured[-1]
    on = (
        f"{last.cases} {last.split} cases, N\u00a0=\u00a0{last.samples}, K\u00a0=\u00a0{last.steps}"
    )
    for m in metadata.metrics:
        if m.name == "GED²":
            scores.append(f"GED² {m.value:.3f}")
            on += f"; GED²: {m.cases} cases, N\u00a0=\u00a0{m.samples}"
    licence = metadata.training.licence.split(" (")[0]
    return (
        f"| `{metadata.name}` | {metadata.description} | {', '.join(scores)} | {on} | {licence} |"
    )


def main() -> None:
    """Write a .md beside each .safetensors, and the README's table of models."""
    for path in bundled_checkpoints().values():
        path.with_suffix(".md").write_text(card(read_metadata(path)), encoding="utf-8")
    before, rest = README.read_text(encoding="utf-8").split(START, 1)
    text = "\n".join([before + START, table(), END]) + rest.split(END, 1)[1]
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
