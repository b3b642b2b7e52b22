"""Weights ahead of a job without network: what is on disk is known without asking, what is not is fetched, or said to be missing."""

import pytest
from huggingface_hub import constants

from geonb.base import download
from geonb.base.download import Source
from geonb.training import pretrained
from geonb.workloads.chips import networks as chips
from geonb.workloads.segmentation import networks as segmentation

SPEC = {"network": "resnet50:weights=imagenet"}


class Hub:
    """A library that keeps weights on disk once it was let out."""

    def __init__(self, network=True):
        self.disk, self.network, self.asked = set(), network, 0

    def build(self, spec):
        if spec in self.disk:
            return
        if constants.HF_HUB_OFFLINE or not self.network:
            raise OSError("not in the cache")
        self.asked += 1
        self.disk.add(spec)


def test_they_are_fetched_once_and_known_without_asking():
    hub = Hub()
    assert "NOT on disk" in pretrained.fetch_weights(SPEC, True, hub.build)[0] and hub.asked == 0
    assert "were fetched" in pretrained.fetch_weights(SPEC, False, hub.build)[0]
    for dry in (True, False):
        assert "are on disk" in pretrained.fetch_weights(SPEC, dry, hub.build)[0] and hub.asked == 1
    assert not constants.HF_HUB_OFFLINE


@pytest.mark.parametrize(
    "given", [{}, {"network": "resnet50:head=linear"}, {"network": "unet:encoder=resnet18,weights=none"}]
)
def test_a_network_that_begins_at_random_needs_none(given):
    assert "begins at random" in pretrained.fetch_weights(given, False, lambda spec: 1 / 0)[0]


def test_what_cannot_be_had_is_told_after_the_others_were_tried(tmp_path):
    with pytest.raises(ConnectionError, match="HF_HOME says where they are kept"):
        pretrained.fetch_weights(SPEC, False, Hub(network=False).build)
    with pytest.raises(ValueError, match=r"not size$"):
        pretrained.fetch_weights({**SPEC, "size": "3"}, True, Hub().build)
    name = "geonb.workloads.chips.networks:fetch_weights"
    sources = [Source("weights", collect=name, options=("network",)), Source("made", page="https://a.page")]
    told = download.fetch_all(sources, tmp_path, (), {"network": "resnet10t:head=linear"})
    assert [line.partition(":")[0] for line in told] == ["weights", "made"]


def test_options_go_to_the_collection_they_are_for(tmp_path, monkeypatch):
    seen = {}

    def load(name):
        return lambda folder, options, dry: [(seen.setdefault(name, options) and name) or name]

    monkeypatch.setattr(download, "load", load)
    sources = [Source("goes", collect="goes"), Source("weights", collect="weights", options=("network",))]
    download.fetch_all(sources, tmp_path, (), {"network": "n", "start": "2020"})
    assert seen == {"goes": {"start": "2020"}, "weights": {"network": "n"}}


@pytest.mark.parametrize(
    ("room", "spec"), [(segmentation, "unet:encoder=resnet18,weights=imagenet"), (chips, "resnet50:weights=imagenet")]
)
def test_rooms_build_what_they_fetch(room, spec, tmp_path, monkeypatch):
    """Without a network, and with an empty cache: the libraries look on disk alone."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert "NOT on disk" in room.fetch_weights(tmp_path, {"network": spec}, dry=True)[0]
    with pytest.raises(ValueError, match="nosuch"):
        room.fetch_weights(tmp_path, {"network": spec.replace("resnet", "nosuch")}, dry=True)
