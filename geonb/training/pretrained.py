"""Pretrained weights ahead of a job without network: whether those of a network are on disk, and fetching them.

Libraries keep them in the Hugging Face cache (``HF_HOME``, else ``~/.cache/huggingface``), which nodes must see, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from geonb.base.specs import parse_spec


def fetch_weights(options: Mapping[str, str], dry: bool, build: Callable[[str], Any]) -> list[str]:
    """Weights of a network for :func:`geonb.base.download.fetch_all`.

    Parameters
    ----------
    options : mapping
        ``network``, as notebook 02 takes it; by default the workload's own, which begins at random.
    dry : bool
        Only tell whether they are there.
    build : callable
        Builds a network of that specification, with its weights.

    Returns
    -------
    list of one line

    Raises
    ------
    ValueError
        If the specification is wrong, or an option is another one.
    ConnectionError
        If they are neither on disk nor to be had.
    """
    if unknown := sorted(set(options) - {"network"}):
        raise ValueError(f"weights take -p network=..., not {', '.join(unknown)}")
    spec = options.get("network", "")
    named = parse_spec(spec)[1] if spec else {}
    if str(named.get("weights", named.get("encoder_weights", "none"))).lower() == "none":
        return [
            f"weights: {spec or 'the default network'} begins at random and needs none (of another: -p network=...)"
        ]
    try:
        with _offline():
            build(spec)
    except ValueError:
        raise
    except Exception as error:  # a library's, of a dozen kinds: they are not on disk
        if dry:
            return [f"weights: those of {spec} are NOT on disk"]
        try:
            build(spec)
        except Exception:
            raise ConnectionError(
                f"The weights of {spec} are not on disk and could not be fetched ({type(error).__name__}: {error}). Run this where "
                "there is a network; HF_HOME says where they are kept, and the nodes must see it"
            ) from None
        return [f"weights: those of {spec} were fetched"]
    return [f"weights: those of {spec} are on disk"]


@contextmanager
def _offline() -> Iterator[None]:
    from unittest import mock

    from huggingface_hub import constants

    with mock.patch.object(constants, "HF_HUB_OFFLINE", True):
        yield
