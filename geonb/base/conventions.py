"""What every layer takes for granted: what stands for no label, the names and codes of the splits, one line of an error."""

from __future__ import annotations

import re
from collections.abc import Collection

VERSION = "0.1.0.dev0"  # of geonb; what is written on disk says which one wrote it
IGNORE = 255  # target of a pixel without a label
SPLITS = ("train", "val", "test")
WORKLOADS: dict[str, str] = {}  # name -> import path of its record; filled from the top (geonb/__init__.py)
PROGRESS = "geonb-progress"  # display by which the kernel of a headless run tells how far it is; never in its notebook
SPLIT_CODES = {name: code for code, name in enumerate(("none", *SPLITS))}  # in maps of the split


# What a link that lets in whoever holds it carries: signatures of S3, Google and Azure, tokens, keys.
SECRET = re.compile(
    r"([?&](?:[\w.-]*(?:signature|credential|token|secret|password|accesskeyid|accessid)|sig|key|api_?-?key)=)[^&\s,'\"]+",
    re.IGNORECASE,
)


def redacted(text: str) -> str:
    """A text in which an address shows neither name and password (``https://name:password@host/...``) nor a signature or a token.

    >>> redacted("https://host/a.tif?versionId=3&X-Amz-Signature=0a1b")
    'https://host/a.tif?versionId=3&X-Amz-Signature=***'
    """
    return SECRET.sub(r"\1***", re.sub(r"(?<=://)[^/\s@]+@", "***@", text))


def short(error: BaseException) -> str:
    """The message of a library's error on one line."""
    return " ".join(str(error).split())[:160]


def refuse(head: str, found: Collection[object], most: int = 20, mark: str = "- ", cure: str = "") -> None:
    """One ValueError that lists what was found, each once and after a `mark`, and then the `cure`, if anything was."""
    if each := list(dict.fromkeys(map(str, found))):
        rest = [f"... and {len(each) - most} more"] if len(each) > most else []
        raise ValueError(
            f"{head}:\n" + "\n".join(f"{mark}{fault}" for fault in each[:most] + rest) + f"\n{cure}" * bool(cure)
        )
