"""Code run where `import tfmed` fails: in one process beside the tests, which has imported TensorFlow already."""

import atexit
import functools
import json
import subprocess
import sys

_SERVER = """
import json, sys, traceback
sys.modules["tfmed"] = None
answers, sys.stdout = sys.stdout, sys.stderr
for line in sys.stdin:
    asked, error = json.loads(line), ""
    sys.argv = ["-c", *asked["arguments"]]
    try:
        exec(compile(asked["code"], "alone", "exec"), {"__name__": "alone", "sys": sys})
    except BaseException:
        error = traceback.format_exc()
    answers.write(json.dumps(error) + "\\n")
    answers.flush()
"""


@functools.cache
def _process():
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        encoding="utf-8",
    )  # fmt: skip
    atexit.register(process.kill)
    return process


def in_fresh_process(code, *arguments):
    """Run Python code, to which `sys.argv[1:]` are the arguments; "" or what it raised."""
    process = _process()
    process.stdin.write(json.dumps({"code": code, "arguments": [str(argument) for argument in arguments]}) + "\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    assert answer, f"the process ended with status {process.wait()}"
    return json.loads(answer)
