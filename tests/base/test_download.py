import contextlib
import hashlib
import random
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import killing
import pytest

from geonb import cli
from geonb.base import download

BODY = bytes(range(256)) * 4000  # about 1 MB
SUM = hashlib.sha256(BODY).hexdigest()


class Server(BaseHTTPRequestHandler):
    """Serves BODY as its class variables say, and keeps what was asked."""

    body, tag, ranges, cuts, asked, pause_s = BODY, '"one"', True, 0, (), 0.0

    def do_GET(self):
        kind = type(self)
        kind.asked = (*kind.asked, self.headers.get("Range"))
        if self.path == "/none":
            return self.send_error(404)
        start = 0
        if kind.ranges and self.headers.get("Range") and self.headers.get("If-Range") == kind.tag:
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(kind.body) - 1}/{len(kind.body)}")
        self.send_header("Content-Length", str(len(kind.body) - start))
        self.send_header("ETag", kind.tag)
        self.end_headers()
        rest = kind.body[start:]
        if kind.cuts:
            kind.cuts -= 1
            rest = rest[: len(rest) // 2]
        with contextlib.suppress(ConnectionError):  # who asked was killed
            for at in range(0, len(rest), 1 << 17):
                self.wfile.write(rest[at : at + (1 << 17)])
                time.sleep(kind.pause_s)
        return None

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    kind = type("Fresh", (Server,), {})
    http = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    kind.url = f"http://127.0.0.1:{http.server_port}/file.zip"
    yield kind
    http.shutdown()
    http.server_close()


def files(folder):
    return sorted(p.name for p in folder.iterdir() if not p.name.endswith(".lock"))


def test_a_file_is_fetched_once_and_its_sum_recorded(server, tmp_path):
    path = download.fetch(server.url, tmp_path / "file.zip", progress=False)
    again = download.fetch(server.url, tmp_path / "file.zip", progress=False)
    assert path.read_bytes() == BODY and again == path
    assert len(server.asked) == 1
    assert (tmp_path / "file.zip.sha256").read_text() == f"{SUM}  file.zip\n"
    assert files(tmp_path) == ["file.zip", "file.zip.sha256"]


def test_a_wrong_sum_keeps_nothing(server, tmp_path):
    with pytest.raises(ValueError, match="SHA-256") as error:
        download.fetch(server.url, tmp_path / "file.zip", sha256="0" * 64, progress=False)
    assert SUM in str(error.value)
    assert files(tmp_path) == []


def test_a_file_changed_after_the_first_fetch_is_noticed(server, tmp_path):
    path = download.fetch(server.url, tmp_path / "file.zip", progress=False)
    path.write_bytes(BODY[:-1])
    with pytest.raises(ValueError, match="changed or cut"):
        download.fetch(server.url, path, progress=False)
    path.unlink()
    server.body = BODY[::-1]  # the publisher renewed it: told, not silently taken
    with pytest.raises(ValueError, match="renewed"):
        download.fetch(server.url, path, progress=False)


def test_a_cut_connection_goes_on_where_it_was_cut(server, tmp_path):
    server.cuts = 1
    path = download.fetch(server.url, tmp_path / "file.zip", progress=False)
    assert path.read_bytes() == BODY
    assert server.asked == (None, f"bytes={len(BODY) // 2}-")


def test_a_later_call_resumes_what_an_earlier_one_left(server, tmp_path):
    server.cuts = 1
    with pytest.raises(ConnectionError, match="cut after"):
        download.fetch(server.url, tmp_path / "file.zip", attempts=1, progress=False)
    assert not (tmp_path / "file.zip").exists()
    download.fetch(server.url, tmp_path / "file.zip", sha256=SUM, progress=False)
    assert server.asked[-1] == f"bytes={len(BODY) // 2}-"


def test_a_version_that_changed_meanwhile_is_not_joined_to_the_old_half(server, tmp_path):
    server.cuts = 1
    with pytest.raises(ConnectionError):
        download.fetch(server.url, tmp_path / "file.zip", attempts=1, progress=False)
    server.body, server.tag = BODY[::-1], '"two"'
    assert download.fetch(server.url, tmp_path / "file.zip", progress=False).read_bytes() == BODY[::-1]


def test_a_server_without_ranges_sends_all_again(server, tmp_path):
    server.cuts, server.ranges = 1, False
    assert download.fetch(server.url, tmp_path / "file.zip", progress=False).read_bytes() == BODY
    assert len(server.asked) == 2


def test_an_address_without_a_file_says_what_to_put_where(server, tmp_path):
    with pytest.raises(ConnectionError, match="404") as error:
        download.fetch(server.url.replace("file.zip", "none"), tmp_path / "ged.zip", progress=False)
    assert str(tmp_path / "ged.zip") in str(error.value)
    assert len(server.asked) == 1  # asking again would not help
    assert files(tmp_path) == []


def test_offline_says_what_to_put_where(server, tmp_path):
    with pytest.raises(ConnectionError, match="put it at"):
        download.fetch("http://127.0.0.1:9/file.zip", tmp_path / "ged.zip", progress=False)


def test_addresses_are_settings(monkeypatch):
    source = download.Source("somewhere_new", "http://theirs/a.zip")
    assert source.address == "http://theirs/a.zip"
    monkeypatch.setenv("GEONB_URL_SOMEWHERE_NEW", "http://mirror/a.zip")
    assert source.address == "http://mirror/a.zip"


def test_a_source_without_an_address_is_used_once_it_lies_there(tmp_path):
    source = download.Source("to_order", page="https://order.here")
    with pytest.raises(ConnectionError, match="GEONB_URL_TO_ORDER") as error:
        download.fetch(source, tmp_path / "static.csv", progress=False)
    assert "https://order.here" in str(error.value) and str(tmp_path / "static.csv") in str(error.value)
    (tmp_path / "static.csv").write_text("gid\n")
    assert download.fetch(source, tmp_path / "static.csv", progress=False).exists()


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setenv("GEONB_ROOT", str(tmp_path))
    return tmp_path


def test_geonb_fetch_puts_a_file_where_the_project_looks(server, project, monkeypatch, capsys):
    monkeypatch.setenv("GEONB_URL_UCDP_GED", server.url)
    assert cli.main(["fetch", "conflict", "ucdp_ged"]) == 0
    path = project / "data" / "downloads" / "conflict" / "file.zip"
    assert path.read_bytes() == BODY and str(path) in capsys.readouterr().out
    assert cli.main(["fetch", "conflict", "ucdp_ged"]) == 0
    assert len(server.asked) == 1, "what is there is not asked for again"


def test_geonb_fetch_goes_on_after_a_fault_and_says_what_to_do(server, project, monkeypatch, capsys):
    monkeypatch.setenv("GEONB_URL_UCDP_GED", server.url.replace("file.zip", "none"))
    monkeypatch.setenv("GEONB_URL_UCDP_CANDIDATE", server.url)
    assert cli.main(["fetch", "conflict"]) == 2
    said = capsys.readouterr().err
    folder = project / "data" / "downloads" / "conflict"
    assert "404" in said and "https://ucdp.uu.se/downloads/" in said and str(folder / "none") in said
    assert files(folder) == ["file.zip", "file.zip.sha256"], "the others were fetched"
    for name in ("hdx", "priogrid_yearly", "priogrid_static"):
        assert f"{name}: made to order at https://" in said
    assert cli.main(["fetch", "conflict", "hdx"]) == 0, "nothing to fetch is no fault"
    assert "data.humdata.org" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["conflict", "ucdp"], "Unknown file 'ucdp'"),
        (["conflikt"], "Unknown workload 'conflikt'"),
        (["seismic"], "seismic has nothing to fetch"),
    ],
)
def test_geonb_fetch_refuses_what_there_is_not(project, capsys, arguments, says):
    assert cli.main(["fetch", *arguments]) == 2
    assert says in capsys.readouterr().err
    assert not (project / "data").exists()


def test_geonb_fetch_keeps_nothing_of_another_sum(server, project, monkeypatch, capsys):
    monkeypatch.setenv("GEONB_URL_UCDP_GED", server.url)
    folder = project / "data" / "downloads" / "conflict"
    folder.mkdir(parents=True)
    (folder / "file.zip.sha256").write_text(f"{'0' * 64}  file.zip\n")
    assert cli.main(["fetch", "conflict", "ucdp_ged"]) == 2
    assert "SHA-256" in capsys.readouterr().err
    assert files(folder) == ["file.zip.sha256"]


@pytest.mark.parametrize(
    "address", ["file://{}", "data:text/csv,a,b", "ftp://127.0.0.1/file.zip", "/etc/hostname", "http:"]
)
def test_only_addresses_of_a_network_are_fetched(address, tmp_path, monkeypatch):
    (tmp_path / "secret").write_text("a,b")
    address, made = address.format(tmp_path / "secret"), tmp_path / "out"
    monkeypatch.setenv("GEONB_URL_THEIRS", address)
    for ask in (
        lambda: download.fetch(address, made / "file.csv", progress=False),
        lambda: download.fetch_all([download.Source("theirs", "http://x/a.zip")], made),
    ):
        with pytest.raises((ValueError, ConnectionError)) as error:
            ask()
        assert "only addresses of http and https" in str(error.value) or address == "http:"
        assert not made.exists() or files(made) == []


def test_a_password_in_an_address_is_neither_sent_nor_told(server, tmp_path):
    with pytest.raises(ValueError, match="carries a name or a password") as error:
        download.fetch(server.url.replace("//", "//me:hunter2@"), tmp_path / "file.zip", progress=False)
    assert "hunter2" not in str(error.value) and "me:" not in str(error.value) and not server.asked


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "nothing came"),
        (b"<!DOCTYPE html><html><body>Please log in</body></html>", "a web page came"),
        (b"\xef\xbb\xbf\n <!-- moved --><HTML>404</HTML>", "a web page came"),
        (b'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml">', "a web page came"),
    ],
)
def test_a_page_in_the_place_of_a_file_is_not_kept_for_it(server, tmp_path, body, says):
    server.body = body
    with pytest.raises(ConnectionError, match=says) as error:
        download.fetch(server.url, tmp_path / "file.zip", progress=False)
    assert str(tmp_path / "file.zip") in str(error.value) and files(tmp_path) == []
    server.body = BODY
    assert download.fetch(server.url, tmp_path / "file.zip", progress=False).read_bytes() == BODY


def test_what_is_xml_or_a_page_that_was_asked_for_is_kept(server, tmp_path):
    server.body = b'<?xml version="1.0"?><kml><Placemark/></kml>'
    assert download.fetch(server.url, tmp_path / "a.kml", progress=False).read_bytes() == server.body
    server.body = b"<html>a page</html>"
    assert download.fetch(server.url, tmp_path / "a.html", progress=False).read_bytes() == server.body
    server.body = b""
    empty = hashlib.sha256(b"").hexdigest()
    assert download.fetch(server.url, tmp_path / "a.csv", sha256=empty, progress=False).read_bytes() == b""


def test_the_file_is_called_as_the_address_says_and_a_folder_is_none(server, tmp_path):
    source = download.Source("theirs", f"{server.url}?download=1#top")
    assert download.fetch_all([source], tmp_path / "in")[0] == f"theirs: {tmp_path / 'in' / 'file.zip'}"
    for end in ("/folder/", "", "/..", "/folder/?x=a.zip"):
        source = download.Source("theirs", server.url.replace("/file.zip", end))
        with pytest.raises(ValueError, match=r"names a folder, not a file.*GEONB_URL_THEIRS"):
            download.fetch_all([source], tmp_path / "in")
    assert files(tmp_path / "in") == ["file.zip", "file.zip.sha256"] and len(server.asked) == 1


@pytest.mark.timeout(killing.TIMEOUT_S)
def test_geonb_fetch_killed_at_any_moment_goes_on(server, tmp_path):
    """At every change on disk and while the body comes; what is left in the end is the file and its sum."""
    (tmp_path / "project" / "notebooks").mkdir(parents=True)
    server.pause_s = 0.02
    fetching = killing.Killable(tmp_path / "project", tmp_path / "kept", GEONB_URL_UCDP_GED=server.url)
    asked = (killing.command, "fetch", "conflict", "ucdp_ged")
    folder = fetching.root / "data" / "downloads" / "conflict"
    fetching.save("before")
    assert fetching.run(*asked) == 0, fetching.printed()
    kinds, draw = [kind for kind, _ in fetching.seen()], random.Random(killing.SEED)
    for place in [draw.randrange(len(kinds)) for _ in range(killing.KILLS)]:
        fetching.restore("before")
        moment = killing.Moment(kinds[place], kinds[: place + 1].count(kinds[place]))
        assert fetching.run(*asked, at=moment) == -signal.SIGKILL, fetching.printed()
        fetching.run(*asked, after_s=draw.uniform(0, 0.3))
        fetching.check_nothing_is_left()
        assert fetching.run(*asked) == 0, fetching.printed()
        assert (folder / "file.zip").read_bytes() == BODY, moment
        assert files(folder) == ["file.zip", "file.zip.sha256"], moment
