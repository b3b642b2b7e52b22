"""Vectors from elsewhere come with their places; what cannot be used is counted and said."""

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
from pyproj import Transformer

from geonb.embeddings.brought import read_vectors
from geonb.embeddings.search import build_index


def frame(n=4, crs="EPSG:32737", **columns):
    shapes = shapely.box(300_000 + 100 * np.arange(n), 9_850_000, 300_100 + 100 * np.arange(n), 9_850_100)
    return gpd.GeoDataFrame(columns, geometry=shapes, crs=crs)


def unlike(n=4, dims=3):
    return list(np.eye(n, dims, dtype=np.float32) + 1)


def test_lists_are_found_and_nulls_counted(tmp_path):
    vectors = [[1.0, 2, 3], None, [0.0, 0, 0], [np.nan, 1, 1]]
    file = tmp_path / "v.parquet"
    frame(embedding=vectors, tags=[["a"], ["b"], [], ["c"]], when=["2020-01-01"] * 4).to_parquet(file)
    found = read_vectors(file, rename={"tags": "labels", "when": "time"})
    assert found.vectors.tolist() == [[1, 2, 3]] and found.samples["id"].tolist() == ["v-0"]
    assert found.notes == [
        "v.parquet: 1 of 4 rows without a vector were left out",
        "v.parquet: 1 of 4 rows with NaN or infinity in it were left out",
        "v.parquet: 1 of 4 rows with zeros only were left out",
    ]
    index = build_index(tmp_path / "index", found.vectors, found.samples, notes=found.notes)
    answer = index.search(np.array([1.0, 2, 3]), 1)
    assert (
        answer["labels"][0] == ["a"] and answer["time"][0] == pd.Timestamp("2020-01-01") and answer["source"][0] == "v"
    )
    west, south = Transformer.from_crs(32737, 4326, always_xy=True).transform(300_000, 9_850_000)
    assert answer.geometry[0].bounds[:2] == pytest.approx((west, south), abs=1e-5)


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float32(), 3), pa.list_(pa.float64()), pa.large_list(pa.float16()), pa.list_(pa.int8(), 3)]
)
def test_every_kind_of_list_is_read(tmp_path, kind):
    file = tmp_path / "v.parquet"
    frame(id=list("abcd"), vector=unlike()).to_parquet(file)
    table = pq.read_table(file)
    at = table.schema.get_field_index("vector")
    values = [None if i == 2 else [int(n) for n in row] for i, row in enumerate(unlike())]
    column = pa.array(values, kind)
    pq.write_table(
        table.set_column(at, pa.field("vector", kind), column).replace_schema_metadata(table.schema.metadata), file
    )
    found = read_vectors(file)
    assert found.samples["id"].tolist() == ["a", "b", "d"] and found.vectors.dtype == np.float32
    np.testing.assert_array_equal(found.vectors, np.array(unlike())[[0, 1, 3]])


def test_tables_without_what_is_needed_are_refused(tmp_path):
    file = tmp_path / "v.parquet"
    frame(one=unlike(), two=unlike()).to_parquet(file)
    with pytest.raises(ValueError, match=r"several columns of vectors \(one, two\): name one"):
        read_vectors(file)
    assert len(read_vectors(file, column="two").vectors) == 4
    with pytest.raises(ValueError, match="no vectors in a column 'three'; columns of lists of numbers: one, two"):
        read_vectors(file, column="three")
    with pytest.raises(ValueError, match="no column name to rename"):
        read_vectors(file, column="two", rename={"name": "id"})
    frame(text=list("abcd")).to_parquet(file)
    with pytest.raises(ValueError, match="no column of lists of numbers, only text, geometry"):
        read_vectors(file)
    frame(v=[[1.0], [1.0, 2.0], [1.0], [2.0]]).to_parquet(file)
    with pytest.raises(ValueError, match="unlike lengths, 1 to 2"):
        read_vectors(file)
    frame(v=unlike(), crs=None).to_parquet(file)
    with pytest.raises(ValueError, match="has no CRS"):
        read_vectors(file)
    pd.DataFrame({"v": unlike(), "lon": [1.0] * 4}).to_parquet(file)
    with pytest.raises(ValueError, match="no geometry that GeoParquet knows"):
        read_vectors(file)
    file.write_bytes(b"PAR1 no")
    with pytest.raises(ValueError, match="cannot be read as Parquet"):
        read_vectors(file)
    with pytest.raises(FileNotFoundError, match="No vectors at"):
        read_vectors(tmp_path / "none.parquet")


def raster(file, values, crs="EPSG:32737", **profile):
    bands, high, wide = values.shape
    transform = rasterio.transform.from_origin(300_000, 9_850_000, 10, 10)
    with rasterio.open(
        file,
        "w",
        driver="GTiff",
        count=bands,
        height=high,
        width=wide,
        dtype=values.dtype,
        crs=crs,
        transform=transform,
        **profile,
    ) as out:
        out.write(values)
    return file


def test_each_pixel_of_a_raster_is_a_sample_and_nodata_is_none(tmp_path):
    values = np.arange(1, 25, dtype=np.float32).reshape(2, 3, 4)
    values[:, 0, 1] = -9999
    values[0, 2, 3] = np.nan
    found = read_vectors(raster(tmp_path / "e.tif", values, nodata=-9999))
    assert len(found.vectors) == 10 and found.notes == ["e.tif: 2 of 12 pixels without data were left out"]
    at = found.samples["id"].tolist().index("e-1-2")
    assert found.vectors[at].tolist() == [7, 19] and found.samples.crs.to_epsg() == 32737
    assert found.samples.geometry[at].bounds == (300_020, 9_849_980, 300_030, 9_849_990)


def test_blocks_are_means_of_their_valid_pixels(tmp_path, monkeypatch):
    from geonb.embeddings import brought

    values = np.random.default_rng(0).integers(1, 100, (3, 5, 7)).astype(np.int16)
    values[:, :2, :2] = [[[0, 0], [0, 7]]] * 3  # three of four are nodata
    values[:, 0, 2] = 0
    file = raster(tmp_path / "e.tif", values, nodata=0)
    with rasterio.open(file, "r+") as out:
        out.scales, out.offsets = (0.5, 1.0, 1.0), (0.0, 0.0, 3.0)
    whole = read_vectors(file, block=2)
    ids = whole.samples["id"].tolist()
    assert len(ids) == 11 and "e-0-0" not in ids
    scaled = values * np.array([0.5, 1, 1])[:, None, None] + np.array([0, 0, 3])[:, None, None]
    three = np.array([[0, 3], [1, 2], [1, 3]])
    assert whole.vectors[ids.index("e-0-2")] == pytest.approx(scaled[:, three[:, 0], three[:, 1]].mean(1))
    assert whole.vectors[ids.index("e-4-6")] == pytest.approx(scaled[:, 4, 6])
    assert whole.samples.geometry[ids.index("e-4-6")].area == 100
    monkeypatch.setattr(brought, "STRIP_PX", 1)  # a row of blocks at a time
    np.testing.assert_array_equal(read_vectors(file, block=2).vectors, whole.vectors)


def test_rasters_without_what_is_needed_are_refused(tmp_path):
    values = np.ones((2, 3, 4), np.float32)
    with pytest.raises(ValueError, match="no CRS"):
        read_vectors(raster(tmp_path / "a.tif", values, crs=None))
    with pytest.raises(ValueError, match="has one band"):
        read_vectors(raster(tmp_path / "b.tif", values[:1]))
    with pytest.raises(ValueError, match=r"No vector is usable.*12 of 12 pixels"):
        read_vectors(raster(tmp_path / "c.tif", values * 0))
    (tmp_path / "d.tif").write_text("no raster")
    with pytest.raises(ValueError, match="neither a GeoParquet nor a raster"):
        read_vectors(tmp_path / "d.tif")
