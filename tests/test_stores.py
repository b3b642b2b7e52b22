"""Every reader of every workload takes what lies in an object store, and makes of it what it makes of the same files here."""

import geopandas as gpd
import h5py
import made_cubes
import made_scenes
import numpy as np
import pandas as pd
import pytest
import shapely
import stores
import xarray as xr
from scenes import make_scene, write_raster
from stores import bucket, s3_server, web  # noqa: F401  (fixtures)

from geonb.base import objects
from geonb.base.project import objects_folder
from geonb.embeddings.brought import read_vectors
from geonb.prediction import many
from geonb.waveforms import archives, catalogues, named, streams
from geonb.workloads.chips import dataset as chips
from geonb.workloads.chips import labels, quadkeys
from geonb.workloads.clouds import dataset as clouds
from geonb.workloads.clouds import store as clouds_store
from geonb.workloads.clouds import triplet_files
from geonb.workloads.conflict import dataset as conflict
from geonb.workloads.conflict import hdf5 as sequences
from geonb.workloads.segmentation import catalogue, class_tables, hdf5
from geonb.workloads.segmentation import dataset as segmentation
from geonb.workloads.segmentation import store as segmentation_store
from geonb.workloads.seismic import dataset as seismic
from geonb.workloads.seismic import examples

CUT = {"patch": 16, "stride": 8, "block": 16}


def arrays_of(store):
    return xr.open_datatree(store.path / "arrays.zarr", engine="zarr").load()


def same(here, there):
    """Whether two stores hold the same arrays and windows."""
    xr.testing.assert_identical(*(arrays_of(s).map_over_datasets(lambda d: d.drop_attrs()) for s in (here, there)))
    gone = ["image", "mask"]
    tables = [pd.DataFrame(s.index).drop(columns=gone, errors="ignore") for s in (here, there)]
    pd.testing.assert_frame_equal(*tables)
    return True


# --- segmentation ----------------------------------------------------------------------------------------------------


def test_segmentation_reads_rasters_in_place_and_makes_the_same_store(tmp_path, bucket):
    scene = make_scene(tmp_path / "scene")
    image, mask = bucket.put(scene.image, "scenes/image.tif"), bucket.put(scene.mask, "masks/mask.tif")
    here = segmentation.open_pairs(str(scene.image), str(scene.mask), scene.classes)
    there = segmentation.open_pairs(image, mask, scene.classes)
    made = [segmentation_store.write_store(p, **CUT, root=tmp_path / n) for n, p in (("here", here), ("there", there))]
    assert same(*made)
    assert all(path.read_bytes().startswith(b"<VRTDataset") for path in objects_folder().rglob("*.tif")), (
        "pixels were fetched"
    )
    assert "very-secret" not in (made[1].path / "store.json").read_text()


def test_segmentation_reads_from_the_web_in_place(tmp_path, web):
    folder, address = web
    scene = make_scene(folder)
    there = segmentation.open_pairs(f"{address}/image.tif", f"{address}/mask.tif", scene.classes)
    here = segmentation.open_pairs(str(scene.image), str(scene.mask), scene.classes)
    made = [segmentation_store.write_store(p, **CUT, root=tmp_path / n) for n, p in (("here", here), ("there", there))]
    assert same(*made)


def test_of_a_changed_image_there_is_another_store(tmp_path, bucket, monkeypatch):
    keys = []
    for seed in range(2):
        scene = make_scene(tmp_path / "scene", seed=seed)
        image, mask = bucket.put(scene.image, "image.tif"), bucket.put(scene.mask, "mask.tif")
        stores.forget(monkeypatch)
        store = segmentation_store.write_store(
            segmentation.open_pairs(image, mask, scene.classes), **CUT, root=tmp_path
        )
        keys.append((store.meta["key"], arrays_of(store)["image"]["inputs"].values))
    assert keys[0][0] != keys[1][0] and (keys[0][1] != keys[1][1]).any()


def polygons(folder, suffix):
    west, north = 500_000, 4_000_000
    shapes = [shapely.box(west + 20 * k, north - 900, west + 20 * k + 15, north - 20) for k in range(0, 60, 2)]
    kind = ["field", "wood"] * 15
    frame = gpd.GeoDataFrame({"kind": kind}, geometry=shapes, crs=32617)
    path = folder / f"roofs{suffix}"
    frame.to_parquet(path) if suffix == ".parquet" else frame.to_file(path)
    return path


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".shp", ".parquet"])
def test_segmentation_reads_polygons(tmp_path, bucket, suffix):
    scene = make_scene(tmp_path / "scene")
    (tmp_path / "roofs").mkdir()
    path = polygons(tmp_path / "roofs", suffix)
    area = gpd.GeoDataFrame(geometry=[shapely.box(499_000, 3_998_000, 502_000, 4_001_000)], crs=32617)
    area.to_file(tmp_path / "area.gpkg")
    bucket.put(tmp_path / "roofs", "roofs")
    options = ":column=kind,complete="
    here = segmentation.open_pairs(str(scene.image), f"{path}{options}{tmp_path / 'area.gpkg'}")
    there = segmentation.open_pairs(
        bucket.put(scene.image), f"s3://{bucket.name}/roofs/{path.name}{options}{bucket.put(tmp_path / 'area.gpkg')}"
    )
    made = [segmentation_store.write_store(p, **CUT, root=tmp_path / n) for n, p in (("here", here), ("there", there))]
    assert same(*made)


def test_segmentation_takes_a_catalogue_a_class_table_and_an_hdf5_file(tmp_path, bucket):
    scene = make_scene(tmp_path / "scene")
    (tmp_path / "classes.csv").write_text("code,name\n0,ignore\n1,field\n2,wood\n5,lake\n")
    image, mask, table = (bucket.put(p) for p in (scene.image, scene.mask, tmp_path / "classes.csv"))
    assert class_tables.read_classes(table) == class_tables.read_classes(str(tmp_path / "classes.csv"))
    file = tmp_path / "datasets.yaml"
    file.write_text(
        f"there: {{images: '{image}', masks: '{mask}', classes: '{table}'}}\nelse: {{images: s3://none/a.tif, masks: b.tif}}\n"
    )
    pairs = catalogue.open_datasets(f"{file}:there")
    store = segmentation_store.write_store(pairs, **CUT, root=tmp_path)
    assert {path.name for path in catalogue.catalogue_files(f"{file}:there", tmp_path)} == {
        "datasets.yaml",
        "image.tif",
        "mask.tif",
    }
    assert catalogue.table(file)["images"].isna().all()  # counting them would be fetching them
    exported = bucket.put(hdf5.export_hdf5(store, tmp_path / "samples.h5"))
    folder = hdf5.import_hdf5(exported, tmp_path / "data" / "segmentation" / "back")
    assert len(pd.read_parquet(folder / "index.parquet")) == len(store)


def test_rasters_to_predict_are_found_there(tmp_path, bucket):
    for name in ("a.tif", "b.tif"):
        write_raster(tmp_path / "new" / name, np.ones((3, 40, 40), np.uint8))
    bucket.put(tmp_path / "new", "new")
    found = many.listed(f"s3://{bucket.name}/new/*.tif")
    assert [path.name for path in found] == ["a.tif", "b.tif"]


def test_vectors_and_a_picture_to_look_for_are_found_there(tmp_path, bucket):
    write_raster(tmp_path / "vectors.tif", np.random.default_rng(0).normal(size=(4, 40, 40)).astype(np.float32))
    here, there = (
        read_vectors(tmp_path / "vectors.tif", block=8),
        read_vectors(bucket.put(tmp_path / "vectors.tif"), block=8),
    )
    np.testing.assert_array_equal(here.vectors, there.vectors)


# --- conflict --------------------------------------------------------------------------------------------------------


def test_conflict_reads_events_covariates_and_a_region(tmp_path, bucket):
    from workloads.conflict.test_dataset import SETTINGS, write_events

    write_events(tmp_path / "events.csv")
    cells = [(gid, year) for gid in range(134_000, 146_000) for year in (2000, 2005)]
    pd.DataFrame(cells, columns=["gid", "year"]).assign(nlights_mean=0.5).to_csv(tmp_path / "prio.csv", index=False)
    gpd.GeoDataFrame(geometry=[shapely.box(3, 4, 10, 10)], crs=4326).to_file(tmp_path / "region.gpkg")
    options = SETTINGS | {"channels": "event,nlights_mean"}
    made = []
    for kind, name in (("here", str), ("there", bucket.put)):
        events, prio, region = (name(tmp_path / file) for file in ("events.csv", "prio.csv", "region.gpkg"))
        conflict.check_region(region, tmp_path)
        found = conflict.open_events(events)
        settings = options | {"covariates": prio, "region": region}
        del settings["network"]
        made.append(conflict.write_conflict_store(found, **settings, root=tmp_path / kind))
    assert same(*made)


def test_conflict_imports_hdf5(tmp_path, bucket):
    store = made_cubes.small_cube_store(tmp_path)
    file = sequences.export_sequences(store, tmp_path / "samples.h5")
    back = sequences.import_sequences(bucket.put(file), tmp_path / "data" / "conflict" / "back")
    assert len(back.index) == len(store.index)


# --- clouds ----------------------------------------------------------------------------------------------------------


def test_clouds_reads_netcdf_pictures_and_folders(tmp_path, bucket):
    (tmp_path / "scenes").mkdir()
    made_scenes.write(tmp_path / "scenes")
    made = []
    for kind, spec in (("here", str(tmp_path / "scenes")), ("there", bucket.put(tmp_path / "scenes", "scenes"))):
        found = clouds.open_scenes(spec, patch=16)
        made.append(clouds_store.write_triplet_store(found, patch=16, counts="60/20/30", root=tmp_path / kind))
    assert same(*made)
    files = clouds.scene_files(f"s3://{bucket.name}/scenes/*.nc", tmp_path)
    assert [path.name for path in files] == ["vis.nc"]
    folder = triplet_files.export_triplets(made[0], tmp_path / "pictures")
    there = clouds.open_scenes(bucket.put(folder, "pictures"))
    assert len(there.files) == len(clouds.open_scenes(str(folder)).files)


def test_clouds_reads_rasters_in_place_and_places_pictures(tmp_path, bucket):
    from PIL import Image

    values = np.random.default_rng(0).integers(1, 255, (3, 64, 96)).astype(np.uint8)
    (tmp_path / "s").mkdir()
    write_raster(tmp_path / "s" / "goes_20200401_1200.tif", values)
    Image.fromarray(values.transpose(1, 2, 0)).save(tmp_path / "s" / "goes_20200401_1300.png")
    (tmp_path / "s" / "goes_20200401_1300.pgw").write_text("0.01\n0\n0\n-0.01\n-60\n20\n")
    bucket.put(tmp_path / "s", "s")
    for name in ("goes_20200401_1200.tif", "goes_20200401_1300.png"):
        here, there = (
            clouds.open_scenes(spec, patch=16) for spec in (str(tmp_path / "s" / name), f"s3://{bucket.name}/s/{name}")
        )
        np.testing.assert_array_equal(here.series[0].read(0)[0], there.series[0].read(0)[0])
        assert (
            here.series[0].times.equals(there.series[0].times) and here.series[0].transform == there.series[0].transform
        )


def test_clouds_reads_a_zarr_store(tmp_path, bucket):
    with xr.open_dataset(made_scenes.write(tmp_path), engine="h5netcdf", decode_cf=False) as data:
        data.drop_encoding().to_zarr(tmp_path / "vis.zarr", zarr_format=2)
    here, there = (
        clouds.open_scenes(s, patch=16)
        for s in (str(tmp_path / "vis.zarr"), bucket.put(tmp_path / "vis.zarr", "vis.zarr"))
    )
    np.testing.assert_array_equal(here.series[0].read(3)[0], there.series[0].read(3)[0])


# --- chips -----------------------------------------------------------------------------------------------------------


def test_chips_reads_images_and_labels(tmp_path, bucket):
    (tmp_path / "images" / "deep").mkdir(parents=True)
    values = np.random.default_rng(0).integers(1, 255, (3, 300, 300)).astype(np.uint8)
    write_raster(tmp_path / "images" / "deep" / "a.tif", values, crs="EPSG:32633")
    gpd.GeoDataFrame(geometry=[shapely.box(14.99, 36.1, 15.02, 36.2)], crs=4326).to_file(tmp_path / "roofs.geojson")
    (tmp_path / "classes.yaml").write_text("House: {building: [house]}\n")
    there = chips.open_imagery(bucket.put(tmp_path / "images", "images"), "xyz", 15, 64)
    here = chips.open_imagery(str(tmp_path / "images"), "xyz", 15, 64)
    assert [s.lattice for s in there.strips] == [s.lattice for s in here.strips] and there.strips[0].lattice
    said = chips.read_labels(f"{bucket.put(tmp_path / 'roofs.geojson')}:all=house")
    assert [path.name for path in said.files] == ["roofs.geojson"] and not said.is_osm
    assert labels.read_classes(bucket.put(tmp_path / "classes.yaml")) == labels.read_classes(tmp_path / "classes.yaml")
    assert [path.name for path in chips.files_named(f"s3://{bucket.name}/images/", tmp_path)] == ["a.tif"]


def test_chips_reads_extracts_of_openstreetmap_and_geoparquet(tmp_path, bucket):
    from test_readme import write_extract

    write_extract(tmp_path / "city.osm.pbf", 15.0, 45.15)
    gpd.GeoDataFrame({"kind": ["wood"]}, geometry=[shapely.box(15, 45, 15.2, 45.2)], crs=4326).to_parquet(
        tmp_path / "land.parquet"
    )
    cells = quadkeys.cells_at(15.001, 45.151, zoom=15)
    table = gpd.GeoDataFrame({"name": [c.name() for c in cells]}, geometry=quadkeys.footprints(cells), crs="OGC:CRS84")
    for name, options in (("city.osm.pbf", ""), ("land.parquet", ":column=kind")):
        here = labels.label_chips(table, f"{tmp_path / name}{options}")
        there = labels.label_chips(table, f"{bucket.put(tmp_path / name)}{options}")
        pd.testing.assert_frame_equal(pd.DataFrame(here), pd.DataFrame(there))


# --- seismic ---------------------------------------------------------------------------------------------------------


def test_seismic_reads_archives_catalogues_and_stations(tmp_path, bucket):
    home = examples.simulate(tmp_path / "sim", events=2, seed=5)
    archive = bucket.put(home / "waveforms", "archive/waveforms")
    quakes, metadata = bucket.put(home / "events.xml"), bucket.put(home / "stations.xml")
    names = ["file"]
    here, there = (archives.index_files(a).drop(columns=names) for a in (home / "waveforms", archive))
    pd.testing.assert_frame_equal(here, there)
    pd.testing.assert_frame_equal(catalogues.read_events(str(home / "events.xml")), catalogues.read_events(quakes))
    assert (
        archives.read_stations(metadata).get_contents()
        == archives.read_stations(str(home / "stations.xml")).get_contents()
    )
    assert {path.name for path in named.waveforms(archive, tmp_path)} == {
        path.name for path in (home / "waveforms").iterdir()
    }
    found = [
        seismic.open_recordings(*given, window_s=60, before_s=15, noise_s=80)
        for given in (
            (str(home / "waveforms"), str(home / "events.xml"), str(home / "stations.xml")),
            (archive, quakes, metadata),
        )
    ]
    np.testing.assert_array_equal(found[0].prepared("SI", 0)[0], found[1].prepared("SI", 0)[0])
    assert streams.check_source(f"replay:{archive}@100").index is not None
    one = archives.index_files(f"{archive}*.mseed")
    assert len(one) == len(here)


def test_seismic_reads_a_folder_of_seisbench(tmp_path, bucket):
    folder = tmp_path / "bench"
    folder.mkdir()
    values = np.random.default_rng(0).normal(size=(3, 1000)).astype(np.float32)
    with h5py.File(folder / "waveforms.hdf5", "w") as data:
        data["data/one"] = values
        for key, text in {"dimension_order": "CW", "component_order": "ZNE"}.items():
            data[f"data_format/{key}"] = text
    pd.DataFrame(
        {"trace_name": ["one"], "station_network_code": ["NA"], "station_code": ["S0"], "station_latitude_deg": [60.0],
         "station_longitude_deg": [5.0], "trace_start_time": ["2021-03-04T05:06:07Z"], "trace_sampling_rate_hz": [50.0],
         "trace_channel": ["HH"], "source_id": ["e"], "source_origin_time": ["2021-03-04T05:06:00Z"], "source_latitude_deg": [61.0],
         "source_longitude_deg": [6.0], "source_depth_km": [3.0], "source_magnitude": [1.0], "source_type": ["earthquake"],
         "trace_P_arrival_sample": [300]}).to_csv(folder / "metadata.csv", index=False)  # fmt: skip
    there = named.waveforms(bucket.put(folder, "bench"), tmp_path)
    assert sorted(path.name for path in there) == sorted(path.name for path in named.waveforms(str(folder), tmp_path))
    assert all(path.is_relative_to(objects_folder()) for path in there)


# --- faults ----------------------------------------------------------------------------------------------------------


def test_pixels_that_are_gone_after_the_headers_were_read_are_told_with_their_address(tmp_path, bucket):
    scene = make_scene(tmp_path / "scene", (700, 900))
    image, mask = bucket.put(scene.image), bucket.put(scene.mask)
    pairs = segmentation.open_pairs(image, mask, scene.classes)
    bucket.client.delete_object(Bucket=bucket.name, Key="image.tif")
    with pytest.raises(ValueError, match=rf"not all of {image}.*could be had.*Is it there still, and a network\?"):
        segmentation.scan(pairs)


def test_nothing_is_made_of_inputs_that_are_not_there_and_a_run_knows_no_key(tmp_path, bucket, monkeypatch):
    import tiny

    from geonb.runs import plan, resume

    home = tmp_path / "project"
    (home / "tinyload.py").write_text(tiny.WORKLOAD)
    for name, cells in (("01_dataset_tiny", tiny.DATASET), ("02_tiny", tiny.TRAIN), ("03_tiny", tiny.PREDICT)):
        tiny.write_notebook(home / "notebooks" / f"{name}.ipynb", cells)
    monkeypatch.syspath_prepend(str(home))
    monkeypatch.chdir(home)
    for address, told in (
        (f"s3://{bucket.name}/none.csv", "no such object"),
        ("https://h/a.csv?sig=abc", "a signature or a token"),
    ):
        with pytest.raises(ValueError, match=rf"(?s)nothing was run.*table.*{told}"):
            plan.prepare(tiny.RECORD, {"table": address})
        assert not (home / "runs").exists()
    stamps = []
    for text in ("one", "two"):
        (tmp_path / "a.csv").write_text(text)
        address = bucket.put(tmp_path / "a.csv")
        stores.forget(monkeypatch)
        planned = plan.prepare(tiny.RECORD, {"table": address})
        stamps.append(resume.signature(planned, planned.steps[0], None)["files"])
    assert stamps[0] != stamps[1], "a changed object would not be noticed when the run is taken up again"
    assert planned.run.parameters["table"] == address
    for file in home.rglob("*"):
        assert not file.is_file() or b"very-secret" not in file.read_bytes()


def test_what_is_fetched_ahead_serves_without_a_network(tmp_path, bucket, monkeypatch, capsys):
    from geonb import cli

    scene = make_scene(tmp_path / "scene")
    image, mask = bucket.put(scene.image), bucket.put(scene.mask)
    assert cli.main(["fetch", "segmentation", image, mask, "--dry-run"]) == 0
    assert f"{image}: 1 objects, 0.1 MB" in capsys.readouterr().out and not list(objects_folder().rglob("*.tif"))
    assert cli.main(["fetch", "segmentation", image, mask]) == 0
    monkeypatch.setattr(
        objects, "_listed", lambda address: (_ for _ in ()).throw(ConnectionError(f"{address}: cannot be reached"))
    )
    stores.forget(monkeypatch)
    pairs = segmentation.open_pairs(image, mask, scene.classes)
    assert len(segmentation_store.write_store(pairs, **CUT, root=tmp_path)) > 0
