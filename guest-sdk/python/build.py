#!/usr/bin/env python3
"""Makes a component of a plugin: its module, what it imports, and a Python interpreter.

    python3 build.py SOURCE.py --output COMPONENT [--search]

`--search` is for a plugin that finds (capability `search`). Journal, tables and memory need no
option: a plugin may use what its manifest requests, and a call that uses more ends.

Invariant: the component imports nothing but the contract: the system interface is stubbed out. Standard output is one line.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> int:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("source", type=Path)
    arguments.add_argument("--output", type=Path, required=True)
    arguments.add_argument("--search", action="store_true")
    options = arguments.parse_args()
    if sys.version_info < (3, 10):
        return fail("this Python is too old", "3.10 or newer is needed")
    source = options.source.resolve()
    if source.suffix != ".py" or not source.is_file():
        return fail(f"{options.source} is no Python module")
    # Beside this folder in a project that carries the SDK with it, else where the repository has it.
    contracts = [folder for folder in (HERE / "wit", HERE / "../../wit") if (folder / "policy.wit").is_file()]
    if not contracts:
        return fail(f"`policy.wit` is missing beside {HERE}")
    world = "search-plugin" if options.search else "plugin"
    part = options.output.with_name(options.output.name + ".part")
    program = "import sys; from componentize_py import script; sys.exit(script())"
    command = [sys.executable, "-c", program, "-d", str(contracts[0]), "-w", world, "componentize", "--stub-wasi"]
    command += ["-p", str(source.parent), "-p", str(HERE), source.stem, "-o", str(part)]
    tools = os.environ.get("PORTCULLIS_PYTHON_TOOLS") or str(fetched())
    # Sets in the same order from every build, as far as the tool lets that through.
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": tools}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        part.unlink(missing_ok=True)
        said = (done.stdout + done.stderr).strip()
        if "No module named 'componentize_py'" in said:
            return fail("the package `componentize-py` is missing", f"run `python3 -m pip install -r {HERE}/requirements.txt`")
        return fail(said)
    # Whole or not at all.
    part.replace(options.output)
    print(f"{options.output}: {options.output.stat().st_size} bytes, world {world}")
    return 0


def fetched() -> Path:
    """The folder of the build's own tools, fetched once where they are installed nowhere else."""
    tools = Path(".tools").resolve()
    if not tools.is_dir() and importlib.util.find_spec("componentize_py") is None:
        print(f"fetching the packages of {HERE}/requirements.txt into .tools (once)", file=sys.stderr)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", str(tools)]
        subprocess.run([*pip, "-r", str(HERE / "requirements.txt")], stdout=sys.stderr, check=False)
    return tools


def fail(why: str, hint: str = "") -> int:
    print(f"error: {why}" + (f"\nhint: {hint}" if hint else ""), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
