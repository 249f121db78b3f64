"""A large file in the OpenAI form into a run: rows a second, and the memory that the import takes at most.

    rows_per_second   rows of the file / seconds of `itool data import`, its start included
    peak_mib          resident memory of that process at most
    again_per_second  the same when all rows are there already

Rows differ in question and values, have one of 100 functions and two samples each, one of them a call. Left out: data
sets in other forms, and the Hub.

    python -m bench.import_rows [--rows 1000000]
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CODE = "from itool_cli.main import main; main()"


def row(number: int) -> str:
    """One conversation: a question, a call, its result, an answer."""
    name = f"look_up_{number % 100}"
    schema = {
        "type": "object",
        "properties": {"key": {"type": "string"}, "limit": {"type": "integer"}, "exact": {"type": "boolean"}},
        "required": ["key"],
    }
    arguments = json.dumps({"key": f"value {number}", "limit": number % 50})
    call = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}
    return json.dumps(
        {
            "messages": [
                {"role": "user", "content": f"Look up value {number}, at most {number % 50} of them."},
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "call_1", "content": f"{number % 7} found"},
                {"role": "assistant", "content": f"There are {number % 7}."},
            ],
            "tools": [
                {"type": "function", "function": {"name": name, "description": "Look up.", "parameters": schema}}
            ],
        }
    )


def seconds_to_import(file: Path, run: Path) -> float:
    """Import a file with the command, in a process of its own."""
    started = time.monotonic()
    subprocess.run(
        [sys.executable, "-c", CODE, "data", "import", str(file), "--run", str(run)], check=True, stdout=sys.stderr
    )
    return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        file, run = Path(name) / "rows.jsonl", Path(name) / "run"
        with file.open("w", encoding="utf-8") as out:
            out.writelines(f"{row(number)}\n" for number in range(options.rows))
        first = seconds_to_import(file, run)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        again = seconds_to_import(file, run)
    figures = {
        "rows_per_second": round(options.rows / first),
        "peak_mib": round(peak),
        "again_per_second": round(options.rows / again),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
