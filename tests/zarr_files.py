"""Small OME-Zarr images made for tests."""

import json

import zarr
from zarr.storage import LocalStore


def ome_zarr(
    path, array, axes, scale, version="0.5", unit="millimeter", translation=None, **options
):
    """Write ``array`` as an OME-Zarr image of ``version`` 0.4 or 0.5; return its path."""
    modern = version == "0.5"
    kinds = {"t": "time", "c": "channel"}
    transformations = [{"type": "scale", "scale": list(scale)}]
    if translation is not None:
        transformations.append({"type": "translation", "translation": list(translation)})
    described = [{"name": axis, "type": kinds.get(axis, "space")} for axis in axes]
    for axis in described:
        if axis["type"] == "space" and unit is not None:
            axis["unit"] = unit
    multiscales = [
        {
            "axes": described,
            "datasets": [{"path": "0", "coordinateTransformations": transformations}],
        }
    ]
    if modern:
        attributes = {"ome": {"version": version, "multiscales": multiscales}}
    else:
        attributes = {"multiscales": [{"version": version, **multiscales[0]}]}
    store = LocalStore(path)
    zarr.create_group(store, zarr_format=3 if modern else 2, attributes=attributes)
    made = zarr.create_array(
        store,
        name="0",
        shape=array.shape,
        dtype=array.dtype,
        zarr_format=3 if modern else 2,
        **options,
    )
    made[...] = array
    assert json.loads((path / ("zarr.json" if modern else ".zattrs")).read_text())
    return path
