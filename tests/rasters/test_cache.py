"""GDAL's cache of blocks: rasterio takes a whole number for bytes, GDAL's own texts for megabytes."""

import ast
from pathlib import Path

import geonb

ROOT = Path(geonb.__file__).parents[1]
LEAST = 16 << 20  # bytes: below that, every block is decoded again for each row that is read of it


def test_caches_are_given_in_bytes():
    found = []
    for file in [*ROOT.glob("geonb/**/*.py"), *ROOT.glob("benchmarks/*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "GDAL_CACHEMAX":
                text = ast.unparse(node.value)
                named = {t.id: n.value for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Assign)
                         for t in n.targets if isinstance(t, ast.Name)}  # fmt: skip
                value = ast.unparse(named[text]) if text in named else text
                found.append((file.name, eval(value, {})))
    assert len(found) >= 5 and all(size >= LEAST for _, size in found), found
