"""Runs the Pulumi program in a process of its own: one line of JSON settings on stdin, then the program.

Started as `python -P launcher.py`; imports nothing of halab, so that any interpreter with the Pulumi SDK serves.
Exits 0 when the program succeeded, 32 when its error was already reported to the engine, 1 otherwise.
"""

import asyncio
import ctypes
import gc
import json
import logging
import os
import runpy
import signal
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor

PR_SET_PDEATHSIG = 1
REPORTED = 32


def main() -> int:
    """The whole life of the child."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    import pulumi
    import pulumi.runtime

    # A large cloud's objects, which all live to the end, looked through for garbage again and again, and thousands of
    # requests whose messages the engine drops: that was two thirds of what a program costs.
    gc.disable()
    pulumi.log.debug = lambda *args, **kwargs: None
    given = json.loads(sys.stdin.readline())
    os.chdir(given["directory"])
    sys.argv = [given["program"]]
    pulumi.runtime.set_all_config(given["config"], given["secret_keys"])
    settings = pulumi.runtime.Settings(
        project=given["project"],
        stack=given["stack"],
        parallel=given["parallel"],
        dry_run=given["dry_run"],
        monitor=given["address"],
        engine=given["address"],
        organization="organization",
        root_directory=given["root"],
    )
    pulumi.runtime.configure(settings)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    executor = ThreadPoolExecutor(max_workers=max(given["parallel"], 1) * 4)
    loop.set_default_executor(executor)
    try:
        loop.run_until_complete(pulumi.runtime.run_in_stack(lambda: _run(given["program"])))
    except pulumi.RunError as error:
        pulumi.log.error(str(error))
        return REPORTED
    except Exception as error:
        pulumi.log.error("the program failed: " + _explain(error, given["program"]))
        return REPORTED
    finally:
        executor.shutdown(wait=True)
        loop.close()
        sys.stdout.flush()
    return 0


def _run(program: str) -> None:
    runpy.run_path(program, run_name="__main__")


def _explain(error: Exception, program: str) -> str:
    """The error with the traceback from the program's own first line on; without one when only the SDK took part."""
    what = "".join(traceback.format_exception_only(error)).strip()
    ours = os.path.abspath(program)
    frames = traceback.extract_tb(error.__traceback__)
    first = next((at for at, frame in enumerate(frames) if os.path.abspath(frame.filename).startswith(ours)), None)
    if first is None:
        return what
    return f"{what}\n{''.join(traceback.format_list(frames[first:])).rstrip()}"


if __name__ == "__main__":
    sys.exit(main())
