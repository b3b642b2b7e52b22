"""The server of an explorer: who has the token gets the answers that the explorer gives, and faults in words."""

import json
import struct
from dataclasses import replace

import made_places as made
import pytest
from tornado.httpserver import HTTPServer
from tornado.testing import AsyncHTTPTestCase

from geonb.dashboards import app

EXPLORER = made.explorer(made.data())
PLANES = {"what": "planes", "place": 1, "view": [0, 0, 60, 60], "pixels": [50, 50],
          "layers": [{"layer": "guess", "at": {"model": 1, "month": 0}}, {"layer": "picture", "at": {}}]}  # fmt: skip
VALUES = {"what": "values", "place": 0, "x": 12, "y": 33, "layers": [{"layer": "guess", "at": {}}]}


class TestApp(AsyncHTTPTestCase):
    def get_app(self):
        return app.application(EXPLORER, "secret")

    def ask(self, asked, token="secret"):
        body = asked if isinstance(asked, str) else json.dumps(asked)
        return self.fetch("/ask", method="POST", body=body, headers={"X-Token": token})

    def test_the_page_wants_the_token(self):
        for address in ("/", "/?token=", "/?token=secre", "/?token=secrét"):
            assert self.fetch(address).code == 403
        page = self.fetch("/?token=secret")
        assert page.code == 200 and page.headers["Cache-Control"] == "no-store"
        told = page.body.decode()
        assert "made up" in told and "secret" not in told

    def test_questions_want_the_token(self):
        assert self.ask(VALUES, "other").code == 403
        assert self.fetch("/ask", method="POST", body=json.dumps(VALUES)).code == 403

    def test_answers_are_those_of_the_explorer(self):
        for asked in (PLANES, VALUES):
            body = self.ask(asked).body
            count = struct.unpack_from("<I", body)[0]
            lengths = struct.unpack_from(f"<{count}I", body, 4)
            at, parts = 4 + 4 * count, []
            for length in lengths:
                parts.append(body[at : at + length])
                at += length
            told, files = EXPLORER.answer(asked)
            assert at == len(body) and parts[1:] == files and json.loads(parts[0]) == json.loads(json.dumps(told))

    def test_faults_are_told(self):
        far = replace_layer(VALUES, "heights")
        for asked, said in (({"what": "this"}, "asked for 'this'"), ("{no json", "JSONDecodeError"), ("[]", "list"),
                            ({"what": "values"}, "KeyError: 'layers'"), (far, "no layer 'heights'"),
                            (VALUES | {"place": 7}, "IndexError")):  # fmt: skip
            answer = self.ask(asked)
            assert answer.code == 422 and said in json.loads(answer.body)["failed"], asked
        assert self.ask(VALUES).code == 200


def replace_layer(asked, name):
    return asked | {"layers": [asked["layers"][0] | {"layer": name}]}


def test_it_listens_on_this_machine_alone_with_a_token_of_its_own(monkeypatch):
    class Enough(Exception):
        pass

    told, sockets = [], []
    monkeypatch.setattr(HTTPServer, "add_sockets", lambda self, given: sockets.extend(given))

    def ready(port, token):
        told.append((port, token))
        raise Enough

    for _ in range(2):
        with pytest.raises(Enough):
            app.serve(replace(EXPLORER), 0, ready)
    names = [one.getsockname() for one in sockets]
    for one in sockets:
        one.close()
    assert names == [("127.0.0.1", port) for port, _ in told] and len({token for _, token in told}) == 2
    assert all(len(token) > 30 for _, token in told)
