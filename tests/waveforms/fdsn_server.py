"""An FDSN service over loopback, dataselect and stations: GET, POST, 204; on request 429 with Retry-After, other codes, cut answers."""

import threading
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from time import monotonic
from urllib.parse import parse_qs, urlsplit

import obspy
from obspy import UTCDateTime

SHARED = ("starttime", "endtime", "network", "station", "location", "channel")
PARAMETERS = {
    "dataselect": ("quality", "minimumlength", "longestonly"),
    "station": ("level", "format", "includerestricted"),
}
PARAM = '<param name="{}" style="query" type="xs:string"/>'


def wadl(service):
    params = "".join(map(PARAM.format, SHARED + PARAMETERS[service]))
    return f"""<?xml version="1.0"?>
<application xmlns="http://wadl.dev.java.net/2009/02" xmlns:xs="http://www.w3.org/2001/XMLSchema">
<resources base="http://127.0.0.1/fdsnws/{service}/1/"><resource path="query"><method id="query" name="GET"><request>
{params}</request></method></resource></resources></application>"""


class FdsnServer:
    """With this as a context, `address` is http://host:port.

    Parameters
    ----------
    stream : obspy.Stream
    wrong : list
        What the first requests for data get: an HTTP code, (code, Retry-After), or ``"cut"``, the first half of the answer.
    live : callable, optional
        Seconds since the start -> time up to which there are data; all by default. It may take the stream's id too.
    inventory : obspy.Inventory, optional
        What its station service answers with; without, it has none.
    """

    def __init__(self, stream, wrong=(), live=None, inventory=None):
        self.stream, self.wrong, self.live, self.asked, self.times = stream, list(wrong), live, [], []
        self.inventory, self.stations, self.agents = inventory, [], set()
        self.start = monotonic()

    def found(self, lines):
        got = obspy.Stream()
        for net, sta, loc, cha, start, end in lines:
            for trace in self.stream:
                names = zip(trace.id.split("."), (net, sta, "" if loc == "--" else loc, cha), strict=True)
                last = min(
                    UTCDateTime(end), self.live(monotonic() - self.start, trace.id) if self.live else UTCDateTime(end)
                )
                if all(any(fnmatchcase(a, c) for c in b.split(",")) for a, b in names) and last > UTCDateTime(start):
                    got += obspy.Stream([trace]).slice(UTCDateTime(start), last, nearest_sample=False)
        return got

    def __enter__(self):
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self, body, code=200, **headers):
                self.send_response(code)
                for key, value in headers.items():
                    self.send_header(key.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def data(self, lines):
                outer.asked.append(lines)
                outer.times.append(monotonic())
                wrong = outer.wrong.pop(0) if outer.wrong else None
                if isinstance(wrong, int):
                    return self.answer(b"busy", wrong)
                if isinstance(wrong, tuple):
                    return self.answer(b"busy", wrong[0], Retry_After=str(wrong[1]))
                got = outer.found(lines)
                if not len(got):
                    return self.answer(b"", 204)
                file = BytesIO()
                got.write(file, "MSEED", reclen=512)
                if wrong == "cut":
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(file.getvalue())))
                    self.end_headers()
                    self.wfile.write(file.getvalue()[: len(file.getvalue()) // 2])
                    self.close_connection = True
                    return None
                return self.answer(file.getvalue())

            def do_GET(self):
                url, service = urlsplit(self.path), self.path.split("/")[2]
                if service not in PARAMETERS or (service == "station" and outer.inventory is None):
                    return self.answer(b"", 404)
                if url.path.endswith("/1/application.wadl"):
                    return self.answer(wadl(service).encode())
                if url.path.endswith("/1/version"):
                    return self.answer(b"1.1.0")
                if not url.path.endswith("/1/query"):
                    return self.answer(b"", 404)
                outer.agents.add(self.headers["User-Agent"])
                query = {key: value[0] for key, value in parse_qs(url.query).items()}
                if service == "station":
                    outer.stations.append(query)
                    file = BytesIO()
                    outer.inventory.write(file, "STATIONXML")
                    return self.answer(file.getvalue())
                keys = ("network", "station", "location", "channel", "starttime", "endtime")
                return self.data([tuple(query.get(key, "*") for key in keys)])

            def do_POST(self):
                text = self.rfile.read(int(self.headers["Content-Length"])).decode()
                return self.data(
                    [tuple(line.split()) for line in text.splitlines() if line.strip() and "=" not in line]
                )

            def log_message(self, *_):
                pass

        self.served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.served.server_port}"
        threading.Thread(target=self.served.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.served.shutdown()
        self.served.server_close()
