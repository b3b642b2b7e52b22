"""``geonb ...``: run notebooks, list runs, write reports, look at the machine, start JupyterLab.

Exit codes: 0 done, 2 user error (nothing ran), 3 a cell failed (or the report, or geonb itself), 4 the kernel died or memory ran
out, 5 stopped by a signal or a time limit (resumable). There is no other way out, and each but 0 comes with a sentence.
"""

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from geonb.base.files import mute, say

if TYPE_CHECKING:
    from pathlib import Path

EPILOG = """exit codes: 0 done; 2 user error, nothing ran; 3 a cell failed (or the report, or geonb itself); 4 the kernel died or
memory ran out; 5 stopped by a signal or a time limit (resume with --resume)"""
SIGNALS = (
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
)  # beside SIGINT, which Python turns into KeyboardInterrupt
TEXTS: dict[str, Any] = {"dest": "texts", "metavar": "NAME=VALUE", "action": "append", "default": []}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        with _stoppable():
            _refuse_empty(options)
            return options.command(options)
    except KeyboardInterrupt as stopped:
        code, told = 5, f"Stopped by {stopped.args[0] if stopped.args else 'SIGINT'}."
    except MemoryError:
        code, told = 4, "Memory ran out. Ask for less at once, or for a machine with more memory."
    except (ValueError, OSError, ImportError) as error:
        code, told = 2, _sentence(error)
    except Exception as error:
        code, told = 3, f"geonb itself failed ({type(error).__name__}: {error}). {_kept()}"
    say(told, sys.stderr)
    return code


@contextmanager
def _stoppable() -> Iterator[None]:
    """Signals end a command as Ctrl-C does; what is ignored (``nohup``) stays so. A run stops more calmly, see the runner."""

    def stop(signum: int, frame: Any) -> None:
        raise KeyboardInterrupt(signal.Signals(signum).name)

    here = threading.current_thread() is threading.main_thread()
    taken = [signum for signum in SIGNALS if here and signal.getsignal(signum) is signal.SIG_DFL]
    for signum in taken:
        signal.signal(signum, stop)
    try:
        yield
    finally:
        for signum in taken:
            signal.signal(signum, signal.SIG_DFL)


def _refuse_empty(options: argparse.Namespace) -> None:
    """An empty text is a shell's variable that was never set: taken for nothing, another run would be made or reported."""
    for name, value in vars(options).items():
        if value == "":
            raise ValueError(f"{name} is an empty text. Leave it out, or say what it is.")


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        name = str(error.filename)
        return f"{name if len(name) <= 200 else f'{name[:200]}...'}: {error.strerror}."
    return str(error.args[0] if len(error.args) == 1 else error)


def _kept() -> str:
    """Keep the traceback of a fault of ours in a file; say where it lies."""
    import tempfile
    import traceback

    try:
        with tempfile.NamedTemporaryFile("w", prefix="geonb-", suffix=".log", delete=False) as log:
            traceback.print_exc(file=log)
    except OSError:
        return f"Please report it:\n{traceback.format_exc()}"
    return f"Please report it, with {log.name}, which says where."


def _show(text: str) -> None:
    """Print what was asked for; a pipe that was closed (`geonb runs | head`) has heard enough."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        mute(sys.stdout)
    except OSError as error:
        mute(sys.stdout)
        raise OSError(error.errno, error.strerror, "standard output") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="geonb",
        description="Notebooks for geospatial deep learning: explore in JupyterLab, run headless, resume, report.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    _add_run(commands)
    listing = commands.add_parser("runs", help="table of runs with parameters and scores")
    listing.add_argument("--sort", metavar="COLUMN", help="e.g. mean_iou (best first), started, epochs")
    listing.add_argument("--query", metavar="QUERY", help="e.g. \"epochs > 10 and state == 'done'\"")
    listing.add_argument("--all", action="store_true", help="every column, also parameters that are alike in all runs")
    listing.set_defaults(command=_runs)

    report = commands.add_parser(
        "report", help="write a run's report again; of several runs, a comparison and an index"
    )
    report.add_argument(
        "runs", metavar="RUN", nargs="*", help="a name, its two words, or a path (default: the newest run)"
    )
    report.add_argument("--query", metavar="QUERY", help="runs by query instead of by name, as in `geonb runs`")
    report.add_argument("--sort", metavar="COLUMN", help="order of the comparison (default: best on validation first)")
    report.add_argument(
        "--out", metavar="FILE.html", help="where the comparison goes (default: runs/comparison_...html)"
    )
    report.add_argument("--workload", metavar="MODULE:RECORD", help="your own workload, where runs of it are compared")
    report.set_defaults(command=_report)

    app = commands.add_parser("app", help="explore runs on a page of their own, without JupyterLab")
    app.add_argument(
        "runs",
        metavar="RUN",
        nargs="*",
        help="a run; several are laid beside each other (default: the newest with predictions)",
    )
    app.add_argument("--port", type=int, default=0, help="on this machine (default: a free one)")
    app.add_argument("--workload", metavar="MODULE:RECORD", help="your own workload, where the run is one of it")
    app.set_defaults(command=_app, query=None, sort=None)

    serve = commands.add_parser(
        "serve", help="rasters and polygons as map tiles (XYZ, TileJSON) for QGIS and web maps, and a map to look at"
    )
    serve.add_argument(
        "paths",
        metavar="FOLDER|FILE",
        nargs="+",
        help="GeoTIFFs, COGs (first on top), polygons as chips.gpkg:column=told, or folders",
    )
    serve.add_argument("--port", type=int, default=0, help="on this machine (default: a free one)")
    serve.add_argument("--name", metavar="NAME", default="mosaic", help="of the layer of all files that fit together")
    serve.set_defaults(command=_serve)

    _add_live(commands)
    fetch = commands.add_parser(
        "fetch", help="data and weights of a workload, ahead of a job on a node without network"
    )
    fetch.add_argument("workload", metavar="WORKLOAD", help="a name, e.g. conflict")
    fetch.add_argument(
        "names",
        metavar="NAME",
        nargs="*",
        help="which of its files (default: all), or s3:// and https:// addresses: rasters, too, are fetched whole",
    )
    fetch.add_argument(
        "-p",
        **TEXTS,
        help="which files of a collection, as start=2020-04-01, stop=...; a wrong one lists all there are; repeatable",
    )
    fetch.add_argument(
        "--dry-run", action="store_true", help="tell what would be fetched and how much, and fetch nothing"
    )
    fetch.set_defaults(command=_fetch)

    allow = commands.add_parser(
        "trust", help="let code that a received model, store, run or catalogue names run here; without names: what may"
    )
    allow.add_argument("names", metavar="FILE.py:FUNCTION", nargs="*", help="or package.module:FUNCTION")
    allow.set_defaults(command=_trust)

    doctor = commands.add_parser("doctor", help="what is installed, which device, what is missing and how to get it")
    doctor.add_argument(
        "workload", metavar="WORKLOAD", nargs="?", help="also what it has from the network, and whether that is here"
    )
    doctor.add_argument(
        "-p", **TEXTS, help="as for fetch, e.g. network=unet:encoder=resnet50,weights=imagenet; repeatable"
    )
    doctor.set_defaults(command=_doctor)

    lab = commands.add_parser("lab", help="JupyterLab on loopback with a token; prints the ssh -L line")
    lab.add_argument("--port", type=int, help="port (default: a free one)")
    lab.add_argument(
        "--on", metavar="SCHEDULER[:KEY=VALUE,...]",
        help="on a node of its own, as slurm:gpus=1,walltime=08:00:00; prints the lines that reach it, and again while it runs",
    )  # fmt: skip
    lab.set_defaults(command=_lab)
    return parser


def _add_live(commands: "argparse._SubParsersAction") -> None:
    live = commands.add_parser(
        "live", help="watch data as they come with a run's model; stopped and started again it goes on"
    )
    live.add_argument(
        "run", metavar="RUN", nargs="?", default="latest", help="a run with a model (default: the newest)"
    )
    live.add_argument(
        "--from", dest="source", required=True, metavar="SOURCE",
        help="seedlink://host[:port], fdsn:NAME, or replay:FOLDER@SPEED (1 is real time, max as fast as it goes)",
    )  # fmt: skip
    live.add_argument("--stations", metavar="FILE", help="station metadata, StationXML (default: those of the run)")
    live.add_argument("--channels", metavar="NET.STA.LOC.CHA,...", help="patterns of what the source is asked for")
    live.add_argument(
        "--how",
        metavar="events:KEY=VALUE,...",
        default="events",
        help="how windows become events; a wrong one lists all",
    )
    live.add_argument("--begin", metavar="TIME", help="UTC (default: now; of a replay its beginning)")
    live.add_argument("--until", metavar="TIME", help="UTC (default: never; of a replay its end)")
    live.add_argument("--out", metavar="FOLDER", help="default: live/ in the run")
    live.set_defaults(command=_live)


def _add_run(commands: "argparse._SubParsersAction") -> None:
    run = commands.add_parser("run", help="run a workload's notebooks, then write the report", epilog=EPILOG)
    run.add_argument("workload", metavar="WORKLOAD", help='a name, e.g. segmentation, or "package.module:RECORD"')
    run.add_argument("--steps", metavar="1-5", help="notebooks by number, as 1-3 or 2,4 (default: all)")
    run.add_argument("-f", "--file", metavar="FILE.yaml", help="parameters, one `name: value` a line")
    run.add_argument("-p", **TEXTS, help="a parameter, over those of -f; repeatable")
    run.add_argument(
        "--resume",
        metavar="RUN",
        nargs="?",
        const=True,
        default=False,
        help="go on with a run (default: the newest): finished steps with the same parameters and inputs are skipped",
    )
    run.add_argument(
        "--cell-timeout", metavar="SECONDS", type=int, help="longest time a cell may take (default: no limit)"
    )
    run.add_argument("--parameters", action="store_true", help="list every parameter of the workload, and run nothing")
    on = run.add_argument_group(
        "as jobs of a scheduler, whose queue and account Dask's configuration may say (jobqueue.yaml)"
    )
    on.add_argument(
        "--on", metavar="SCHEDULER[:KEY=VALUE,...]",
        help="slurm, pbs, sge or local (a process that stays); as slurm:walltime=08:00:00,memory=32GB; a wrong one lists all",
    )  # fmt: skip
    on.add_argument(
        "--job",
        metavar="STEP:KEY=VALUE,...",
        action="append",
        default=[],
        help="what a step needs, as 2:gpus=1; repeatable",
    )
    on.add_argument("--split", action="store_true", help="each notebook a job (else steps that need the same are one)")
    on.add_argument("--detach", action="store_true", help="submit and return; geonb status tells, geonb cancel ends it")
    on.add_argument(
        "--dry-run", action="store_true", help="write the scripts into the run folder, show them, submit nothing"
    )
    run.set_defaults(command=_run)
    _add_sweep(commands)
    status = commands.add_parser("status", help="runs that are jobs: where they stand, and what the scheduler says")
    status.add_argument("--all", action="store_true", help="those that are over, too")
    status.set_defaults(command=_status)
    cancel = commands.add_parser("cancel", help="end a run's job, or the lab's")
    cancel.add_argument(
        "run", metavar="RUN|lab", help="a name, its two words, or a path; lab for that of geonb lab --on"
    )
    cancel.set_defaults(command=_cancel)
    job = commands.add_parser("job")  # what a job's script calls; not listed
    job.add_argument("run")
    job.add_argument("steps")
    job.set_defaults(command=_job)


def _add_sweep(commands: "argparse._SubParsersAction") -> None:
    sweep = commands.add_parser("sweep", help="search for good settings: trials are runs, chosen on validation")
    sweep.add_argument("workload", metavar="WORKLOAD", help='a name, e.g. segmentation, or "package.module:RECORD"')
    sweep.add_argument(
        "-f",
        "--file",
        metavar="SPACE.yaml",
        required=True,
        help="a line a parameter: a list, or {low: 1e-4, high: 1e-2, log: true}",
    )
    sweep.add_argument("--trials", type=int, required=True, metavar="N")
    sweep.add_argument(
        "--metric", default="val_loss", help="a column of log.csv that begins with val_ (default: val_loss)"
    )
    sweep.add_argument("--sampler", default="tpe", help="tpe, grid or random (default: tpe)")
    sweep.add_argument("--no-prune", action="store_true", help="train every trial to its end")
    sweep.add_argument("-p", **TEXTS, help="a parameter that all trials share; repeatable")
    sweep.add_argument("--workers", type=int, default=1, help="trials at a time (default: 1)")
    sweep.add_argument(
        "--on", default="local", metavar="SCHEDULER[:KEY=VALUE,...]", help="where workers run, as in geonb run"
    )
    sweep.add_argument("--base", metavar="RUN", help="take this run's samples (default: step 1 makes them)")
    sweep.add_argument("--name", help="of the sweep; one that is there is gone on with")
    sweep.add_argument("--seed", type=int, default=0)
    sweep.set_defaults(command=_sweep)
    worker = commands.add_parser("sweep-worker")  # what a worker's script calls; not listed
    worker.add_argument("folder")
    worker.add_argument("number", type=int)
    worker.add_argument("on")
    worker.add_argument("walltime", nargs="?")
    worker.add_argument("warn", nargs="?", type=int)
    worker.set_defaults(command=_sweep_worker)


def _version() -> str:
    from geonb import __version__

    return f"geonb {__version__}"


def _run(options: argparse.Namespace) -> int:
    from geonb.runs import plan, runner

    if options.parameters:
        _show(plan.describe(options.workload))
        return 0
    runner.check_limit(options.cell_timeout)
    texts = dict(_pair(text) for text in options.texts)
    asked = _asked_on(options)
    planned = plan.prepare(
        options.workload,
        texts=texts,
        steps=options.steps,
        resume=options.resume,
        file=options.file,
        also=_faults_of(asked) or (None if options.resume else _faults_here),
    )
    if asked:
        return _run_on(planned, asked, options)
    code, message = runner.run_steps(planned, cell_timeout_s=options.cell_timeout)
    if message:
        say(message, sys.stderr)
    return code


def _asked_on(options: argparse.Namespace) -> "tuple[str, dict[int, dict[str, Any]]] | None":
    """The scheduler, and what each step asks for, checked before a run folder is made; None for a plain run."""
    if options.on:
        from geonb.batch import jobs, schedulers
        from geonb.runs import plan

        on, wanted = schedulers.check_on(options.on)
        schedulers.settled(on, wanted)
        if not options.dry_run:
            schedulers.check_here(on)
        return on, jobs.per_step(options.job, on, wanted, plan.numbers(options.workload))
    alone = [f"--{name.replace('_', '-')}" for name in ("job", "split", "detach", "dry_run") if getattr(options, name)]
    if alone:
        raise ValueError(f"{', '.join(alone)}: of jobs. Say where, too: --on slurm, pbs, sge or local.")
    return None


def _faults_of(
    asked: "tuple[str, dict[int, dict[str, Any]]] | None",
) -> Callable[[Sequence[Any]], list[str]] | None:
    """What tells which jobs cannot be as they are asked for, once the steps' parameters are known."""
    if asked is None:
        return None
    from functools import partial

    from geonb.batch import jobs

    return partial(jobs.faults, *asked)


def _faults_here(steps: Sequence[Any]) -> list[str]:
    """What this machine lacks of what the steps ask for, before step 1 works for hours on what step 2 cannot use.

    Not asked where a run is gone on with: its training may be done, elsewhere.
    """
    from geonb.training.devices import find_devices

    found = []
    for step in steps:
        try:
            find_devices(step.values.get("devices", 1))
        except ValueError as error:
            found.append(str(error))
    return found


def _run_on(planned: Any, asked: tuple[str, dict[int, dict[str, Any]]], options: argparse.Namespace) -> int:
    """Submit a plan as jobs; follow them unless told not to."""
    from geonb.batch import jobs

    on, resources = asked
    record = jobs.write(planned, on, resources, options.split, options.cell_timeout, _typed(options))
    if options.dry_run:
        scripts = [planned.run.path / piece["script"] for piece in record["pieces"]]
        _show("\n".join(f"{file}\n{file.read_text(encoding='utf-8')}" for file in scripts))
        _show(f"Nothing was submitted. Edit them as you like, then: {jobs.again(planned.run)}")
        return 0
    try:
        jobs.check_scripts(planned.run)
        job = jobs.submit(planned.run)
    except ValueError as error:
        scripts = planned.run.path / jobs.FOLDER
        raise ValueError(
            f"{error}\nNothing was submitted. The scripts lie in {scripts}. Once they, or --on and --job, ask for what there is: "
            f"{jobs.again(planned.run)}"
        ) from error
    _show(f"{on} job {job}: {planned.run.path}")
    if options.detach:
        return 0
    try:
        return jobs.follow(planned.run)
    except KeyboardInterrupt:
        words = planned.run.name.partition("_")[2]
        _show(f"\nThe job goes on. `geonb status` tells of it, `geonb cancel {words}` ends it.")
        raise


def _typed(options: argparse.Namespace) -> list[str]:
    """What of the command line makes a run's jobs what they are."""
    typed = [
        "--on",
        options.on,
        *(word for text in options.job for word in ("--job", text)),
        *["--split"] * options.split,
    ]
    more = {"--steps": options.steps, "--cell-timeout": options.cell_timeout}
    return typed + [word for name, value in more.items() if value is not None for word in (name, str(value))]


def _sweep(options: argparse.Namespace) -> int:
    from geonb.batch import schedulers, sweep_report, sweeps

    on, asked = schedulers.check_on(options.on)
    schedulers.check_heeded(asked, ["scratch"], "a sweep")
    schedulers.check_here(on)
    if options.workers < 1:
        raise ValueError(f"--workers {options.workers}: a whole number from 1.")
    texts = dict(_pair(text) for text in options.texts)
    folder = sweeps.make(
        options.workload, sweeps.load_space(options.file), trials=options.trials, metric=options.metric, sampler=options.sampler,
        prune=not options.no_prune, texts=texts, seed=options.seed, name=options.name, base=options.base,
    )  # fmt: skip
    code, told = sweeps.finish(folder, options.workers, on, asked)
    if told:
        say(told, sys.stderr)
    _show(sweeps.trials_of(folder).to_string(index=False))
    _show(f"Report: {sweep_report.write_report(folder)}")
    return code


def _sweep_worker(options: argparse.Namespace) -> int:
    from pathlib import Path

    from geonb.batch import sweeps

    return sweeps.work(Path(options.folder), options.number, options.on, options.walltime, options.warn)


def _status(options: argparse.Namespace) -> int:
    from geonb.batch import jobs

    frame = jobs.table(all_runs=options.all)
    _show(frame.to_string(index=False) if len(frame) else "No run has a job that is not over.")
    return 0


def _cancel(options: argparse.Namespace) -> int:
    from geonb import runs
    from geonb.base import project
    from geonb.batch import jobs, labs

    if options.run == "lab":
        _show(labs.cancel(project.project_root()))
        return 0
    _show(jobs.cancel(runs.find_run(options.run, project.project_root())))
    return 0


def _job(options: argparse.Namespace) -> int:
    from pathlib import Path

    from geonb.batch import jobs

    return jobs.work(Path(options.run), options.steps)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ValueError(f"-p {text}: write -p name=value, e.g. -p epochs=5.")
    return name.strip(), value


def _runs(options: argparse.Namespace) -> int:
    import shutil

    from geonb.runs import run_table

    frame = run_table.table(query=options.query, sort=options.sort, columns="all" if options.all else "short")
    if frame.empty:
        _show("No runs yet. Make one with: geonb run segmentation" if not options.query else "No run fits that query.")
        return 0
    fitting = sys.stdout is not None and sys.stdout.isatty() and not options.all
    _show(run_table.as_text(frame, shutil.get_terminal_size().columns if fitting else None))
    return 0


def _report(options: argparse.Namespace) -> int:
    from geonb.base import project
    from geonb.runs import report as runs_report

    root = project.project_root()
    if options.workload:
        from geonb.runs.plan import name_workload

        name_workload(options.workload, root)
    folders = _asked_for(options, root)
    if options.out and len(folders) < 2:
        raise ValueError(f"--out is where a comparison goes, and that needs two runs or more, not {len(folders)}.")
    for folder in folders:
        _show(f"Report: {runs_report.write_report(folder)}")
    if len(folders) > 1:
        from geonb.runs import compare

        _show(f"Index: {runs_report.write_index(folders, root / 'runs' / 'index.html')}")
        _show(f"Comparison: {compare.write_comparison(folders, options.out, options.sort)}")
    return 0


def _app(options: argparse.Namespace) -> int:
    from geonb import lab
    from geonb.base import project
    from geonb.dashboards import app
    from geonb.runs.explore import explorer_of

    root = project.project_root()
    if options.workload:
        from geonb.runs.plan import name_workload

        name_workload(options.workload, root)
    explorer = explorer_of(_asked_for(options, root, ["store", "predictions"]))
    port = lab.free_port(options.port)
    app.serve(explorer, port, lambda port, token: _show(lab.connection(port, token, "/")))
    return 0


def _serve(options: argparse.Namespace) -> int:
    from geonb import lab
    from geonb.tileserver import layers, server

    found, notes = layers.layers_of(options.paths, options.name)
    for note in notes:
        say(f"Note: {note}", sys.stderr)

    def ready(port: int, base: str) -> None:
        _show(f"{server.directions(found, base)}\n\n{lab.connection(port, '', '/').splitlines()[1].strip()}")

    server.serve(found, options.port, ready)
    return 0


def _live(options: argparse.Namespace) -> int:
    from geonb import registry, runs
    from geonb.base import project
    from geonb.base.specs import load

    run = runs.find_run(options.run, project.project_root(), ["model"])
    record = registry.known(run.workload)
    if not record.live:
        raise ValueError(
            f"{run.workload}/{run.name}: {run.workload} watches nothing live. Give a run of a workload that does."
        )
    settings = {name: getattr(options, name) for name in ("stations", "channels", "how", "begin", "until")}
    _show(f"Live: {load(record.live)(run, options.source, options.out, **settings)}")
    return 0


def _asked_for(options: argparse.Namespace, root: "Path", needs: "list[str] | None" = None) -> "list[Path]":
    """Folders of the runs that names or a query stand for; without either, of the newest that has what is needed."""
    from geonb import runs

    if not options.query:
        if options.sort:
            runs.table(root, None, options.sort)  # faults before work
        return list(dict.fromkeys(runs.find_run(name, root, needs or ()).path for name in options.runs or ["latest"]))
    if options.runs:
        raise ValueError(f"Give runs by name ({' '.join(options.runs)}) or by --query, not both.")
    frame = runs.table(root, options.query, options.sort)
    if frame.empty:
        raise ValueError(f"No run fits --query {options.query!r}. `geonb runs --all` shows what there is.")
    return [root / "runs" / row.workload / row.run for row in frame.itertuples()]


def _fetch(options: argparse.Namespace) -> int:
    from geonb import registry
    from geonb.base import download, objects, project

    record = registry.get(options.workload)
    folder = project.project_root() / "data" / "downloads" / record.name
    addresses = [name for name in options.names if objects.is_address(name)]
    for address in addresses:
        place = project.objects_folder()
        told = [objects.weigh(address)] if options.dry_run else map(str, objects.local(address, place, whole=True))
        _show("\n".join(told))
    if addresses and len(addresses) == len(options.names):
        return 0
    options.names = [name for name in options.names if name not in addresses]
    if not record.fetch:
        raise ValueError(f"{record.name} has nothing to fetch: its example is simulated where it runs.")
    texts = dict(_pair(text) for text in options.texts)
    _show("\n".join(download.fetch_all(record.fetch, folder, options.names, texts, options.dry_run)))
    return 0


def _trust(options: argparse.Namespace) -> int:
    from pathlib import Path

    from geonb.base import project, trust

    sys.path += [str(folder) for folder in (*project.checkouts(), Path.cwd()) if str(folder) not in sys.path]
    for name in options.names:
        trust.check_name(name)
    for name in options.names:
        note = trust.trust(name)
        if not note.is_file():
            raise PermissionError(f"Cannot write {note}. Set XDG_STATE_HOME to a folder of yours that all nodes see.")
        _show(f"{name} may run where a file names it, until its source changes. Remove {note} to take that back.")
    if not options.names:
        allowed = [f"{note['since'][:16]}  {note['path']}" for note in trust.listed()]
        _show("\n".join([*(allowed or ["Nothing was allowed yet."]), f"Kept in {trust.folder()}"]))
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from geonb import doctor

    text, missing = doctor.examine(options.workload, dict(_pair(text) for text in options.texts))
    _show(text)
    return 2 if missing else 0


def _lab(options: argparse.Namespace) -> int:
    from geonb import lab

    if options.on is None:
        return lab.serve(options.port)
    from geonb.base import project
    from geonb.batch import labs, schedulers

    on, asked = schedulers.check_on(options.on)
    schedulers.check_heeded(asked, ["scratch", "warn"], "a lab")
    _show(labs.start(project.project_root(), on, asked, options.port))
    return 0


if __name__ == "__main__":
    sys.exit(main())
