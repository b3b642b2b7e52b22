"""The figures of forecasts on a store as it is written to disk."""

import matplotlib

matplotlib.use("Agg")

import made_cubes
import numpy as np
import pytest

from geonb.workloads.conflict import maps


@pytest.fixture(scope="module")
def cube_store(tmp_path_factory):
    return made_cubes.small_cube_store(tmp_path_factory.mktemp("project"))


def test_figures_read_a_store_from_disk(cube_store):
    events = cube_store.cube(names=[cube_store.outcomes[0]["event"]]).values[:, 0] * cube_store.valid
    ax = maps.cube_maps(cube_store).axes[0]
    assert np.ma.filled(ax.images[0].get_array(), 0).sum() == events.sum()
    panels = [ax for ax in maps.event_diffusion(cube_store, 96).axes if ax.images]
    assert len(panels) == cube_store.steps
    last = np.ma.filled(panels[-1].images[0].get_array(), 0)[::-1]
    assert (last * cube_store.valid == events[95]).all()
    assert maps.sequence_samples(cube_store, 3)


def test_tiles_are_the_windows_of_the_store(cube_store):
    rows = np.arange(min(12, len(cube_store)))
    tiles = maps.forecast_tiles(cube_store, rows)
    for tile, row in zip(tiles, rows, strict=True):
        window = (cube_store[int(row)].inputs.isel(channel=0).values > 0).any(0)[::-1]  # north up
        ground = tile[~window][0] if (~window).any() else 0
        assert ((tile != ground).any(-1) == window).all()
