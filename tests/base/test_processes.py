"""Processes do what threads do, also from a script that nobody guarded."""

import os
import subprocess
import sys
import textwrap
from operator import mul
from pathlib import Path

import pytest

from geonb.base import processes

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("many", [1, 2])
def test_results_come_in_the_order_of_the_tasks(many):
    assert list(processes.spread(mul, [(i, 2) for i in range(5)], many)) == [0, 2, 4, 6, 8]


def test_errors_are_raised():
    with pytest.raises(ZeroDivisionError):
        list(processes.spread(divmod, [(1, 1), (1, 0)], 2))


@pytest.mark.parametrize("how", ["file", "stdin"])
def test_a_script_without_a_guard_runs_once(tmp_path, how):
    script = textwrap.dedent(f"""
        import sys; sys.path.insert(0, {str(ROOT)!r})
        from operator import mul
        from geonb.base import processes
        print("began")
        print(list(processes.spread(mul, [(2, 3), (4, 5)], 2)))
    """)
    (tmp_path / "script.py").write_text(script)
    call = [sys.executable, str(tmp_path / "script.py")] if how == "file" else [sys.executable, "-"]
    done = subprocess.run(
        call, input=script if how == "stdin" else None, capture_output=True, text=True, timeout=60, env=os.environ
    )
    assert done.returncode == 0 and done.stdout.splitlines() == ["began", "[6, 20]"], done.stderr[-500:]
