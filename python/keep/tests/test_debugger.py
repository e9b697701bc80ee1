"""Breakpoints of JupyterLab's debugger: set in one process, they stop a cell in another."""

import queue
import shutil
from pathlib import Path

from kernels import Kernel

CELL = "one = 1\ntwo = one + 1\nprint('two is', two)\n"
FUNCTION = "def twice(x):\n    y = 2 * x\n    return y\n"


class Debugged(Kernel):
    """What the page does on the control channel."""

    stopped = None

    def debug(self, command, **arguments):
        return self.request({"type": "request", "seq": 1, "command": command, "arguments": arguments})

    def request(self, content):
        message = self.client.session.msg("debug_request", content)
        self.client.control_channel.send(message)
        while True:
            reply = self.client.get_control_msg(timeout=60)
            if reply["parent_header"].get("msg_id") == message["header"]["msg_id"]:
                return reply["content"]

    def start_debugger(self):
        assert self.debug("initialize", clientID="jupyterlab", adapterID="python3")["success"]
        assert self.debug("attach")["success"]

    def set_breakpoint(self, code, line):
        path = self.debug("dumpCell", code=code)["body"]["sourcePath"]
        points = [{"line": line}]
        reply = self.debug("setBreakpoints", source={"path": path}, breakpoints=points, sourceModified=False)
        assert reply["body"]["breakpoints"][0]["verified"]
        return path

    def run_to_breakpoint(self, code):
        """Where the cell stops; what it prints once it goes on, and how it ends."""
        message = self.client.execute(code)
        where, printed = None, ""
        while True:
            try:
                got = self.client.get_iopub_msg(timeout=20)
            except queue.Empty:
                return where, "nothing comes"
            content = got["content"]
            if got["msg_type"] == "debug_event" and content["event"] == "stopped":
                thread = content["body"]["threadId"]
                frame = self.debug("stackTrace", threadId=thread)["body"]["stackFrames"][0]
                where = (frame["source"]["path"], frame["line"], content["body"]["reason"])
                self.debug("continue", threadId=thread)
            elif got["msg_type"] == "stream":
                printed += content["text"]
            elif content.get("execution_state") == "idle" and got["parent_header"].get("msg_id") == message:
                self.client.get_shell_msg(timeout=20)
                return where, printed


def parked(kernel, path):
    saved = kernel.call("save", path)
    assert saved["outcome"] == "saved" and saved["whole"], saved
    return saved


def test_a_cell_and_a_function_stop_in_the_next_process(tmp_path):
    state = str(tmp_path / "state")
    with Debugged(tmp_path) as first:
        first.start_debugger()
        in_cell = first.set_breakpoint(CELL, 2)
        assert first.run(FUNCTION) == ("", None)
        in_function = first.set_breakpoint(FUNCTION, 2)
        assert first.run_to_breakpoint(CELL) == ((in_cell, 2, "breakpoint"), "two is 2\n")
        assert first.call("busy")["background"] == []
        parked(first, state)
        assert first.run_to_breakpoint(CELL) == ((in_cell, 2, "breakpoint"), "two is 2\n"), "a save changes nothing"
        parked(first, state)
    with Debugged(tmp_path) as second:
        loaded = second.call("load", state)
        assert loaded["outcome"] == "loaded" and loaded["notes"] == []
        for request in loaded["debugger"]["requests"]:
            assert second.request(request)["success"], request
        info = second.debug("debugInfo")["body"]
        assert info["isStarted"] and Path(in_cell).parent == Path(info["tmpFilePrefix"])
        assert {each["source"] for each in info["breakpoints"]} == {in_cell, in_function}
        assert second.debug("source", source={"path": in_cell})["body"]["content"] == CELL
        assert second.run_to_breakpoint(CELL) == ((in_cell, 2, "breakpoint"), "two is 2\n")
        assert second.run_to_breakpoint("print(twice(4))") == ((in_function, 2, "breakpoint"), "8\n")
        again = second.set_breakpoint(CELL, 3)  # as a click of the user's
        assert again == in_cell
        parked(second, state)
    with Debugged(tmp_path) as third:
        for request in third.call("load", state)["debugger"]["requests"]:
            third.request(request)
        assert third.run_to_breakpoint(CELL) == ((in_cell, 3, "breakpoint"), "two is 2\n")
        third.debug("disconnect", restart=False, terminateDebuggee=False)
        parked(third, state)
        assert "debugger" not in third.call("load", state), "it was off"


def test_exceptions_stop_the_users_cells_and_no_save(tmp_path):
    state = str(tmp_path / "state")
    made = "class Odd:\n    def __getstate__(self):\n        state = {}\n        return state\nodd = Odd()\n"
    cell = "try:\n    1 / 0\nexcept ZeroDivisionError:\n    print('caught')\n"
    with Debugged(tmp_path) as first:
        first.start_debugger()
        assert first.run(made + "import sys; gen = (i for i in [1])")[1] is None
        first.set_breakpoint(made, 4)
        first.debug("setExceptionBreakpoints", filters=["raised"])
        saved = first.call("save", state)
        assert saved["outcome"] == "saved" and [each["name"] for each in saved["lost"]] == ["gen"]
    with Debugged(tmp_path) as second:
        for request in second.call("load", state)["debugger"]["requests"]:
            assert second.request(request)["success"], request
        (_, line, reason), printed = second.run_to_breakpoint(cell)
        assert (line, reason, printed) == (2, "exception", "caught\n")


def test_what_cannot_be_set_is_said(tmp_path):
    state = str(tmp_path / "state")
    with Debugged(tmp_path) as first:
        first.start_debugger()
        directory = Path(first.set_breakpoint(CELL, 2)).parent
        assert first.run("kept = 5") == ("", None)
        parked(first, state)
    shutil.rmtree(directory)
    directory.touch()
    try:
        with Debugged(tmp_path) as second:
            loaded = second.call("load", state)
            assert loaded["debugger"]["requests"] == [] and "File exists" in loaded["debugger"]["why"]
            assert second.run("print(kept)") == ("5\n", None)
    finally:
        directory.unlink()
