"""Rasters read where they are: a VRT on this disk whose pixels GDAL fetches from the store, window by window."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree import ElementTree

from geonb.base.conventions import short

SUFFIXES = (".tif", ".tiff", ".jp2", ".img", ".vrt")  # of rasters of which a window can be read without the rest
LARGEST = 4 << 20  # bytes of a VRT that is looked into
DOMAIN = "OBJECT"  # of the metadata that say which content a VRT shows
# A connection that is cut is taken up again; GDAL's own default is not to.
RETRIES = {"GDAL_HTTP_MAX_RETRY": "4", "GDAL_HTTP_RETRY_DELAY": "1", "GDAL_HTTP_CONNECTTIMEOUT": "20"}


def is_on(variable: str) -> bool:
    """Whether a variable of the environment says yes."""
    return os.environ.get(variable, "").upper() in ("YES", "TRUE", "ON", "1")


def payer() -> dict[str, str]:
    """That whoever asks pays for what is fetched, as S3 is told, where GDAL's variable says so."""
    return {"RequestPayer": "requester"} if os.environ.get("AWS_REQUEST_PAYER", "").lower() == "requester" else {}


def bridge(s3: bool = False) -> None:
    """Let GDAL know what AWS's libraries are told of the store, for they name it differently.

    ``AWS_ENDPOINT_URL`` (or ``AWS_ENDPOINT_URL_S3``) becomes ``AWS_S3_ENDPOINT``, ``AWS_HTTPS`` and, as other servers have no name for
    each bucket, ``AWS_VIRTUAL_HOSTING=FALSE``; keys, sessions, profiles, regions and ``AWS_NO_SIGN_REQUEST`` both know by the same
    names. So does an ``endpoint_url`` of ``~/.aws/config``. What is set is left as it is. Workers inherit it with the environment.

    Parameters
    ----------
    s3 : bool
        S3 is asked next: a ValueError tells what AWS's file lacks. Else that is nobody's concern: all else can be read.
    """
    own = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not own and "AWS_S3_ENDPOINT" not in os.environ and (own := _configured(s3)):
        os.environ["AWS_ENDPOINT_URL_S3"] = own
    if own:
        parts = urlsplit(own if "://" in own else f"https://{own}")
        os.environ["AWS_S3_ENDPOINT"] = parts.netloc + parts.path.rstrip("/")
        os.environ["AWS_HTTPS"] = "NO" if parts.scheme == "http" else "YES"
    if own or "AWS_S3_ENDPOINT" in os.environ:
        os.environ.setdefault("AWS_VIRTUAL_HOSTING", "FALSE")
    for variable, value in RETRIES.items():
        os.environ.setdefault(variable, value)


def _configured(s3: bool) -> str | None:
    """The endpoint that AWS's configuration file says for S3 and this profile; its own library knows the rules."""
    file = Path(os.environ.get("AWS_CONFIG_FILE") or "~/.aws/config").expanduser()
    if not file.is_file() or "endpoint_url" not in file.read_text(encoding="utf-8", errors="replace"):
        return None
    try:
        from botocore.exceptions import BotoCoreError
        from botocore.session import Session
    except ImportError:
        return None
    try:
        found = Session().create_client("s3", region_name=os.environ.get("AWS_REGION") or "us-east-1").meta.endpoint_url
    except BotoCoreError as error:
        if not s3:
            return None
        raise ValueError(
            f"{file} says no endpoint for S3 ({short(error)}). Look at AWS_PROFILE and at that file"
        ) from None
    return None if found.endswith((".amazonaws.com", ".amazonaws.com.cn")) else found


def gdal_name(address: str) -> str:
    """An object as GDAL calls it."""
    return f"/vsis3/{address.removeprefix('s3://')}" if address.startswith("s3://") else f"/vsicurl/{address}"


def see(address: str, mark: str, file: Path) -> None:
    """Write a VRT that shows a raster as it is: bands, masks, nodata, colours, where it lies.

    Parameters
    ----------
    mark : str
        What another content would change; kept in the file, so that its sum changes with the object.

    Raises
    ------
    ValueError
        If it is no raster, or cannot be read.
    """
    import warnings

    import rasterio
    from rasterio import shutil
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(gdal_name(address)) as data:
                shutil.copy(data, file, driver="VRT")
    except RasterioError as error:
        raise ValueError(f"{address} cannot be opened as a raster ({short(error)})") from None
    tree = ElementTree.parse(file)
    about = ElementTree.SubElement(tree.getroot(), "Metadata", domain=DOMAIN)
    for key, value in (("ADDRESS", address), ("MARK", mark)):
        ElementTree.SubElement(about, "MDI", key=key).text = value
    tree.write(file)


def said(path: str | Path, key: str) -> str:
    """What a VRT of ours says of itself, ``ADDRESS`` or ``DATETIME``; empty of every other file."""
    path = Path(path)
    if not path.is_file() or path.stat().st_size > LARGEST:
        return ""
    text = path.read_bytes()
    if not text.startswith(b"<VRTDataset"):
        return ""
    found = ElementTree.fromstring(text).find(f"Metadata[@domain='{DOMAIN}']/MDI[@key='{key}']")
    return "" if found is None else found.text or ""


def shown(address: str) -> list[str]:
    """The objects that a VRT in a store shows, as far as they lie in stores; a ValueError if it cannot be opened."""
    import rasterio
    from rasterio.errors import RasterioError

    renewed([address])
    try:
        with rasterio.open(gdal_name(address)) as data:
            names = data.files[1:]
    except RasterioError as error:
        raise ValueError(f"{address} cannot be opened as a raster ({short(error)})") from None
    schemes = {"/vsis3/": "s3://", "/vsicurl/": ""}
    return [
        scheme + name.removeprefix(start)
        for name in names
        for start, scheme in schemes.items()
        if name.startswith(start)
    ]


def renewed(addresses: Sequence[str]) -> None:
    """Let GDAL forget what it knows of objects, which may be others by now, as soon as nobody has them open."""
    key = "CPL_VSIL_CURL_NON_CACHED"
    known = [name for name in os.environ.get(key, "").split(os.pathsep) if name]
    os.environ[key] = os.pathsep.join(dict.fromkeys([*known, *map(gdal_name, addresses)]))
