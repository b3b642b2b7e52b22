"""``geonb ...``: run notebooks, list runs, write reports, look at the machine, start JupyterLab.

Exit codes: 0 done, 2 user error (nothing ran), 3 a cell failed, 4 the kernel died or memory ran out, 5 stopped by a signal
or a time limit (resumable).
"""

import argparse
import sys

EPILOG = """exit codes: 0 done; 2 user error, nothing ran; 3 a cell failed; 4 the kernel died or memory ran out;
5 stopped by a signal or a time limit (resume with --resume)"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except (ValueError, FileNotFoundError, PermissionError) as error:
        print(error.args[0] if len(error.args) == 1 else error, file=sys.stderr)
        return 2
    except BrokenPipeError:  # `geonb runs | head`
        sys.stderr.close()
        return 0


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
    listing.set_defaults(command=_runs)

    report = commands.add_parser("report", help="write a run's report again, or an index of several")
    report.add_argument(
        "runs", metavar="RUN", nargs="*", help="a name, its two words, or a path (default: the newest run)"
    )
    report.set_defaults(command=_report)

    doctor = commands.add_parser("doctor", help="what is installed, which device, what is missing and how to get it")
    doctor.set_defaults(command=_doctor)

    lab = commands.add_parser("lab", help="JupyterLab on loopback with a token; prints the ssh -L line")
    lab.add_argument("--port", type=int, help="port (default: a free one)")
    lab.set_defaults(command=_lab)
    return parser


def _add_run(commands: "argparse._SubParsersAction") -> None:
    run = commands.add_parser("run", help="run a workload's notebooks, then write the report", epilog=EPILOG)
    run.add_argument("workload", metavar="WORKLOAD", help='a name, e.g. segmentation, or "package.module:RECORD"')
    run.add_argument("--steps", metavar="1-5", help="notebooks by number, as 1-3 or 2,4 (default: all)")
    run.add_argument("-f", "--file", metavar="FILE.yaml", help="parameters, one `name: value` a line")
    run.add_argument(
        "-p",
        dest="texts",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a parameter, over those of -f; repeatable",
    )
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
    run.set_defaults(command=_run)


def _version() -> str:
    from geonb import __version__

    return f"geonb {__version__}"


def _run(options: argparse.Namespace) -> int:
    from geonb import runner

    if options.parameters:
        print(runner.describe(options.workload))
        return 0
    texts = dict(_pair(text) for text in options.texts)
    plan = runner.prepare(options.workload, texts=texts, steps=options.steps, resume=options.resume, file=options.file)
    code, message = runner.run_steps(plan, cell_timeout_s=options.cell_timeout)
    if message:
        print(message, file=sys.stderr)
    return code


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ValueError(f"-p {text}: write -p name=value, e.g. -p epochs=5.")
    return name.strip(), value


def _runs(options: argparse.Namespace) -> int:
    import shutil

    from geonb import runs

    frame = runs.table(query=options.query, sort=options.sort)
    if frame.empty:
        print("No runs yet. Make one with: geonb run segmentation" if not options.query else "No run fits that query.")
        return 0
    frame = frame.dropna(axis="columns", how="all")
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    print(frame.to_string(index=False, na_rep="", float_format=lambda x: f"{x:.4g}", line_width=width))
    return 0


def _report(options: argparse.Namespace) -> int:
    from geonb import reports, runs

    root = runs.project_root()
    found = [runs.find_run(name, root) for name in options.runs or ["latest"]]
    for run in found:
        print(f"Report: {reports.write_report(run.path)}")
    if len(found) > 1:
        print(f"Index: {reports.write_index([run.path for run in found], root / 'runs' / 'index.html')}")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from geonb import doctor

    text, missing = doctor.examine()
    print(text)
    return 2 if missing else 0


def _lab(options: argparse.Namespace) -> int:
    from geonb import lab

    return lab.serve(options.port)


if __name__ == "__main__":
    sys.exit(main())
