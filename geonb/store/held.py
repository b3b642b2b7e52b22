"""Splits by name: "test:banepa" keeps whole sources for the test, the others are dealt in blocks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatch

from geonb.base.conventions import SPLITS, refuse
from geonb.base.project import slug
from geonb.store.windows import read_shares

USUAL = (
    0.6,
    0.2,
    0.2,
)  # of what is dealt where only names are given, the splits that have sources of their own left out
FORM = "60/20/20, or with whole sources, 75/25/0,test:banepa"


def read_split(shares: str | Sequence[float]) -> tuple[tuple[float, float, float], dict[str, list[str]]]:
    """Shares of blocks, and the sources that are a split's own: "75/25/0,test:banepa+hanoi" or "train:nairobi,test:banepa".

    Returns
    -------
    shares : tuple = (train, val, test)
        Of the blocks that are dealt. Without numbers those of 60/20/20 but for the splits that are named: 75/25/0 for a test.
    held : dict of split -> names, in the order of the splits
        Where `val` is not among them, the sources of `train` are those that are dealt; else what is not named is.

    Raises
    ------
    ValueError
        If a part is neither shares nor SPLIT:NAME+NAME, or a split comes twice.
    """
    if not isinstance(shares, str) or ":" not in shares:
        return read_shares(shares if isinstance(shares, str) else tuple(shares)), {}
    numbers, named, faults = [], {}, []
    for part in (part.strip() for part in shares.split(",")):
        split, colon, names = part.partition(":")
        if not colon:
            numbers.append(part)
        elif split.strip() not in SPLITS or split.strip() in named or not all(n.strip() for n in names.split("+")):
            faults.append(
                f"{part!r}: write train:, val: or test: once each, and after it names of data sets or images, a+b"
            )
        else:
            named[split.strip()] = [name.strip() for name in names.split("+")]
    faults += [f"{', '.join(numbers)}: give shares once"] * (len(numbers) > 1)
    refuse(f"shares = {shares!r} is not right; write {FORM}", faults)
    held = {split: named[split] for split in SPLITS if split in named}
    if numbers:
        return read_shares(numbers[0]), held
    rest = [0.0 if s in held and s != "train" else share for s, share in zip(SPLITS, USUAL, strict=True)]
    train, val, test = (share / sum(rest) for share in rest)
    return (train, val, test), held


def check_split_text(shares: str) -> None:
    """Refuse what :func:`read_split` cannot read."""
    read_split(shares)


def sources_of(
    held: Mapping[str, Sequence[str]], sources: Mapping[str, Iterable[str]], shares: Sequence[float] = (0, 0, 0)
) -> dict[str, str]:
    """The split of each source that is one's own; the others are dealt.

    Parameters
    ----------
    held : from :func:`read_split`
    sources : source -> what it may be called by: its data set, its folder
    shares : from :func:`read_split`; splits that want some of what is dealt

    Raises
    ------
    ValueError
        Listing names that mean no source or those of two splits, sources that nobody named beside `train:`, and splits for which
        no source is left.
    """
    if not held:
        return {}
    faults: list[str] = []
    found: dict[str, str] = {}
    called = ", ".join(f"{name} ({', '.join(dict.fromkeys(others))})" for name, others in sources.items())
    for split, names in held.items():
        for name in names:
            meant = [source for source, others in sources.items() if _means(name, source, others)]
            # images of one set of tiles are numbered
            meant = meant or [source for source in sources if slug(source).startswith(f"{slug(name)}-")]
            faults += [f"{split}:{name} is none of {called}"] * (not meant)
            for source in meant:
                if found.setdefault(source, split) != split:
                    faults.append(f"{source} is in {found[source]} and {split}, by the name {name}")
    left = [source for source in sources if source not in found]
    if "train" in held and left:
        faults.append(f"{', '.join(left)}: in no split. Name them, or leave out train:")
    refuse("The sources cannot be split so", faults)
    if "train" in held and "val" not in held:  # a validation is needed, and comes from the sources to train on
        found = {source: split for source, split in found.items() if split != "train"}
    empty = [s for s, share in zip(SPLITS, shares, strict=True) if share and s not in found.values()]
    if empty and len(found) == len(sources):
        taken = "; ".join(
            f"{s}: {', '.join(n for n, o in found.items() if o == s)}" for s in SPLITS if s in found.values()
        )
        cure = "Give more images, name fewer" + (
            ", or write 75/25/0 before the names, for no test" if empty == ["test"] else ""
        )
        raise ValueError(f"No source is left for {' and '.join(empty)}: by name, all are taken ({taken}). {cure}")
    return found


def _means(name: str, source: str, others: Iterable[str]) -> bool:
    plain = slug(name)
    return fnmatch(source, name) or plain in {slug(source), *map(slug, others)}
