"""The site: the guides as they lie in the repository, the API from its docstrings, executed notebooks as a gallery.

Pages are read where they are, so that a link that works in the repository works in the site; `docs/api` and `docs/gallery`
are made on the way. Nothing here or in a built page asks a network for anything.
"""

import ast
import importlib
import pkgutil
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
geonb = importlib.import_module("geonb")
MODULES = {name: importlib.import_module(name) for _, name, _ in pkgutil.walk_packages(geonb.__path__, "geonb.")}


def homes_of(module):
    """Public names that a package lends from its modules -> their full names."""
    return {
        n: f"{home}.{n}"
        for home, names in getattr(module, "_WHERE", {}).items()
        for n in names.split()
        if not n.isupper()
    }


def import_for_types(module):
    """What a module imports for its annotations alone is imported here, after all else, so that they lead to what they mean."""
    for node in ast.parse(Path(module.__file__).read_text()).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            exec(compile(ast.Module(node.body, []), module.__file__, "exec"), vars(module))


for module in MODULES.values():
    import_for_types(module)
for page in (ROOT / "docs/api").glob("geonb.*.rst"):
    if page.stem not in MODULES:  # of a module that is gone
        page.unlink()

project, version = "geonb", geonb.__version__
extensions = [
    "myst_nb",
    "sphinx_design",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "numpydoc",
]
root_doc = "README"
include_patterns = ["README.md", "CHANGELOG.md", "benchmarks/README.md", "notebooks/README.md", "docs/**"]
exclude_patterns = ["docs/_*", "docs/gallery/extra", ".venv", "build", "data", "runs"]

# Pages
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "attrs_block"]
nb_execution_mode = "off"  # the gallery holds what a run has executed
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # its scripts lie on a CDN
nb_merge_streams = True

# API
autosummary_context = {"homes": {name: homes_of(module) for name, module in MODULES.items()}}
autodoc_inherit_docstrings = False  # Lightning's, of hooks that are ours
autodoc_typehints = "signature"
add_module_names = False
maximum_signature_line_length = 100
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
nitpicky = True
nitpick_ignore = [("py:class", "geonb.scores.bootstrap.Part")]  # a type variable
nitpick_ignore_regex = [(r"py:.*", r"(?!geonb\.).*")]  # other libraries' inventories would have to be fetched

# Looks
html_theme = "pydata_sphinx_theme"
html_title = "geonb"
html_context = {"default_mode": "auto"}
html_show_copyright = False
html_show_search_summary = False  # it fetches the pages, which a browser refuses of files
templates_path = [str(ROOT / "docs/_templates")]
html_static_path = ["_static"]
html_css_files = ["geonb.css"]
html_extra_path = [str(ROOT / "docs/gallery/extra")]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"show_prev_next": False, "secondary_sidebar_items": ["page-toc"], "navigation_depth": 3}

NAVIGATION = """

```{toctree}
:hidden:

Gallery <docs/gallery/index>
docs/guides
docs/api
CHANGELOG
```
"""


def add_navigation(app, docname, source):
    """The front page is README, which shows no table of contents of the site."""
    if docname == root_doc:
        source[0] += NAVIGATION


def add_index(app, exception):
    """A folder of pages is opened at index.html."""
    if app.builder.format == "html" and not exception:
        shutil.copyfile(Path(app.outdir, f"{root_doc}.html"), Path(app.outdir, "index.html"))


def join_returns(app, what, name, thing, options, lines):
    """What a function returns is mostly told in prose; numpydoc would take each of its lines for a value of its own."""
    for start in (
        i + 2 for i, line in enumerate(lines[:-2]) if line in ("Returns", "Yields") and lines[i + 1][:3] == "---"
    ):
        at = start
        while at + 1 < len(lines) and lines[at] and lines[at + 1]:
            prose = not lines[at + 1].startswith(" ") and not re.match(r"\w+ : ", lines[at + 1])
            if prose and not lines[at].startswith(" "):
                lines[at] += f" {lines.pop(at + 1)}"
            else:
                at += 1


def setup(app):
    app.connect("autodoc-process-docstring", join_returns, priority=100)  # before numpydoc
    app.connect("source-read", add_navigation)
    app.connect("build-finished", add_index)
