"""The correction tools as the user meets them: their words, keys and tips."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tool:
    """One tool. ``across_slices`` ones need a volume shown in slices; ``armed`` ones wait for the mouse."""

    name: str
    words: str
    key: str
    tip: str
    across_slices: bool = False
    armed: bool = False


OTHERS_STAY = "Other classes stay as they are."

TOOLS = {
    tool.name: tool
    for tool in (
        Tool(
            "keep_largest",
            "Keep largest piece",
            "K",
            f"Remove all pieces of the class but the largest. {OTHERS_STAY}",
        ),
        Tool(
            "fill_holes",
            "Fill holes",
            "H",
            "Fill the background that the class encloses on all sides, in the whole volume or in the "
            f"slice shown. {OTHERS_STAY}",
        ),
        Tool(
            "erase_piece",
            "Erase a piece",
            "D",
            "Then click on a piece, of any class: it becomes background.",
            armed=True,
        ),
        Tool(
            "relabel_piece",
            "Give a piece this class",
            "R",
            "Then click on a piece of another class: it becomes the class chosen above.",
            armed=True,
        ),
        Tool(
            "smooth",
            "Smooth",
            "S",
            f"Smooth the border of the class; thin parts stay. {OTHERS_STAY}",
        ),
        Tool(
            "grow",
            "Grow",
            "G",
            f"Grow the class into the background by the distance. {OTHERS_STAY}",
        ),
        Tool(
            "shrink",
            "Shrink",
            "Shift+G",
            f"Take the distance off the class all around. {OTHERS_STAY}",
        ),
        Tool(
            "fill_between",
            "Fill between slices",
            "I",
            "Paint the class in some of the slices you scroll through; this fills the slices between "
            f"them. {OTHERS_STAY}",
            across_slices=True,
        ),
        Tool(
            "copy_next",
            "Copy to next slice",
            "N",
            "Copy the class from the slice shown to the next one and go there. What the class has "
            f"there is replaced. {OTHERS_STAY}",
            across_slices=True,
        ),
        Tool(
            "copy_previous",
            "Copy to previous slice",
            "Shift+N",
            "Copy the class from the slice shown to the previous one and go there. What the class "
            f"has there is replaced. {OTHERS_STAY}",
            across_slices=True,
        ),
        Tool(
            "threshold_brush",
            "Threshold brush",
            "T",
            "A brush that paints only background whose intensity lies in the range. Brush size and "
            f"2D or 3D as set for the layer. {OTHERS_STAY}",
            armed=True,
        ),
    )
}


def why_nothing(name: str, structure: str, part: str, amount: str) -> str:
    """Return why a tool changed nothing of ``structure`` in the ``part`` of the image it worked on."""
    sentences = {
        "keep_largest": f"{structure} is one piece in this {part} already, or is not in it.",
        "fill_holes": f"{structure} encloses no hole in this {part}.",
        "smooth": f"{amount} makes {structure} no smoother than it is in this {part}.",
        "grow": f"{structure} is not in this {part}, or {amount} is less than a voxel.",
        "shrink": f"{structure} is not in this {part}, or {amount} is less than a voxel.",
        "fill_between": f"{structure} has no gap between its slices; paint it in slices that are apart.",
        "copy_next": f"The next slice has the same {structure} already.",
        "copy_previous": f"The previous slice has the same {structure} already.",
        "erase_piece": "There is nothing to erase at that point.",
        "relabel_piece": f"There is no piece of another class at that point to become {structure}.",
    }
    if name == "fill_holes" and part == "volume":
        return f"{sentences[name]} To fill holes of the slice shown alone, choose it above."
    return sentences[name]
