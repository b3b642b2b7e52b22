"""A project of two tiny notebooks, for tests of the runner and the command line: no data, no network, a second a step."""

import nbformat

RECORD = "tinyload:TINY"
WORKLOAD = """
from geonb.parameters import Parameter
from geonb.workloads import Workload
TINY = Workload(name="tiny", title="Tiny", question="?", dataset="notebooks/01_dataset_tiny.ipynb", headline="m",
    steps=("02_tiny", "03_tiny"), parameters={"rows": Parameter("rows of the table", 1, 10), "table": Parameter("a table", files=True),
    "mode": Parameter("what happens")})
"""
DATASET = [
    ("markdown", "# A tiny dataset"),
    ("code", "import os, pathlib"),
    (
        "parameters",
        "run: str | None = None  # the run\nrows: int = 3  # how many [1]\ntable: str | None = None  # an input",
    ),
    ("markdown", "Some words.\n\n## Make it"),
    ("code", 'print("rows", rows, "run", run, "headless", os.environ["GEONB_HEADLESS"])'),
]
TRAIN = [
    ("markdown", "# Train"),
    ("code", "import os, subprocess, sys, time\nfrom pathlib import Path"),
    (
        "parameters",
        'workload: str = "tiny"  # which\nrun: str = "latest"  # run\nlr: float = 0.1  # learning rate\nmode: str = "ok"  # what happens',
    ),
    ("markdown", "## Fit"),
    (
        "code",
        'for i in range(2):\n    print(f"epoch {i + 1} of 2, lr {lr}")\nPath("kernel.pid").write_text(str(os.getpid()))',
    ),
    ("markdown", "## Break"),
    (
        "code",
        """\
print("about to", mode)
if mode == "fail": raise ValueError("the loss became NaN\\nTry a smaller lr")
if mode == "memory": raise MemoryError("no room")
if mode == "kill": time.sleep(.3); os.kill(os.getpid(), 9)
if mode == "exit": time.sleep(.3); os._exit(7)
if mode == "sleep": time.sleep(60)
if mode == "later" and not Path("been.here").exists(): Path("been.here").touch(); time.sleep(60)
if mode == "child": subprocess.run([sys.executable, "-c", "import time; x = b'1' * 300_000_000; time.sleep(1)"])
if mode == "orphan":
    p = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    Path("child.pid").write_text(str(p.pid))
if mode == "stderr": os.write(2, b"straight to the terminal")
if mode == "sockets": print(open(sys.argv[sys.argv.index("-f") + 1]).read())
if mode == "hang":  # the kernel answers all but the request itself
    k = get_ipython().kernel; send = k.session.send
    k.session.send = lambda s, m, *a, **kw: None if m == "execute_reply" else send(s, m, *a, **kw)
if mode == "output":
    from ipywidgets import Output
    for i in range(40):
        with Output(): print(i)
print("past", mode)""",
    ),
]
PREDICT = [
    ("markdown", "# Predict"),
    ("parameters", 'workload: str = "tiny"  # which\nrun: str = "latest"  # run\nlr: float = 0.1  # learning rate'),
    ("markdown", "## Go"),
    ("code", "print(workload, run)"),
]


def write_notebook(path, cells):
    notebook = nbformat.v4.new_notebook()
    for kind, text in cells:
        cell = nbformat.v4.new_markdown_cell(text) if kind == "markdown" else nbformat.v4.new_code_cell(text)
        cell.metadata["tags"] = ["parameters"] if kind == "parameters" else []
        notebook.cells.append(cell)
    nbformat.write(notebook, path)
