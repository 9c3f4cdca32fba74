"""The child that runs test code against a program in another process.

The names that the test code takes from the program are fetched over a link: calls go out as plain data and come back as
plain data. So the program never sees an assertion or an expected value, and no method it wrote runs here.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import importlib
import itertools
import random
import sys
import types
from collections import deque
from collections.abc import Iterator
from typing import Any, TypeVar

from tpt.sandbox.inside.compare import same_output, same_value
from tpt.sandbox.inside.link import FrameTooLongError, Link, LinkClosedError
from tpt.sandbox.inside.program import execute
from tpt.sandbox.inside.values import MAX_DEPTH, NotPlainError, decode, dumps, encode

_Value = TypeVar("_Value")
_PASSED: dict[str, Any] = {"passed": True, "reason": "", "message": ""}
_LONGEST_NAME, _LONGEST_TEXT = 100, 1_000
_MOST_ITEMS = 1_000_000
_OFFERED = {
    **dict.fromkeys(("Counter", "defaultdict", "deque", "OrderedDict", "namedtuple"), "collections"),
    **dict.fromkeys(("isclose", "isnan", "isinf", "inf", "nan", "pi", "sqrt", "ceil", "floor"), "math"),
    **dict.fromkeys(("chain", "permutations", "combinations", "product", "islice", "zip_longest", "accumulate"), "itertools"),
    **dict.fromkeys(("reduce", "partial"), "functools"),
    **dict.fromkeys(("List", "Dict", "Tuple", "Set", "Optional", "Union", "Any"), "typing"),
    "deepcopy": "copy", "Decimal": "decimal", "Fraction": "fractions",
}  # fmt: skip
"""Names that tests use without importing them; what a test compares with must not be the program's own."""


class CheckerError(Exception):
    """Raised for a checker that is no checker, whatever the program did."""


class ProgramError(Exception):
    """Raised in the test code for an exception of the program that has no built-in type."""


class Remote:
    """An object that lives in the program's process.

    Equality is identity here, always: no method of the program's decides what is equal.
    """

    __slots__ = ("_caller", "_items", "_number")

    def __init__(self, caller: Caller, number: int) -> None:
        object.__setattr__(self, "_caller", caller)
        object.__setattr__(self, "_number", number)
        object.__setattr__(self, "_items", None)

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        """Call it with plain values and remote objects."""
        return self._caller.ask("call", self, *args, **keywords)

    def __getattr__(self, name: str) -> Any:
        return self._caller.ask("getattr", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._caller.ask("setattr", self, name, value)

    def __getitem__(self, key: Any) -> Any:
        return self._caller.ask("getitem", self, key)

    def __iter__(self) -> Any:
        """Walk the items that it had when it was first walked: an object that changes its mind is not asked again."""
        items = object.__getattribute__(self, "_items")
        if items is None:
            walker = self._caller.ask("iter", self)
            if walker is self or not isinstance(walker, Remote):
                return walker
            if object.__getattribute__(walker, "_number") == object.__getattribute__(self, "_number"):
                return self  # an iterator, which is walked once by its nature
            items = list(itertools.islice(_rest_of(walker), _MOST_ITEMS))
            object.__setattr__(self, "_items", items)
        return iter(items)

    def __next__(self) -> Any:
        return self._caller.ask("next", self)

    def __len__(self) -> int:
        items = object.__getattribute__(self, "_items")
        return _exactly(int, self._caller.ask("len", self)) if items is None else len(items)

    def __bool__(self) -> bool:
        return _exactly(bool, self._caller.ask("bool", self))

    def __int__(self) -> int:
        return _exactly(int, self._caller.ask("int", self))

    def __float__(self) -> float:
        return _exactly(float, self._caller.ask("float", self))

    def __str__(self) -> str:
        return _exactly(str, self._caller.ask("str", self))

    def __repr__(self) -> str:
        return _exactly(str, self._caller.ask("repr", self))


def _rest_of(walker: Remote) -> Iterator[Any]:
    with contextlib.suppress(StopIteration):
        while True:
            yield next(walker)


def frozen(value: Any, depth: int = 0) -> Any:
    """Return a value as plain data: what is still an object of the program's is walked once, and only once.

    Raises:
        NotPlainError: it cannot be walked.
    """
    if depth > MAX_DEPTH:
        raise NotPlainError("a value nested too deep")
    if isinstance(value, Remote):
        try:
            items = list(itertools.islice(iter(value), _MOST_ITEMS))
        except (ProgramError, TypeError, AttributeError):
            raise NotPlainError("the program returned an object that is no plain data") from None
        return [frozen(item, depth + 1) for item in items]
    if isinstance(value, dict):
        return {frozen(key, depth + 1): frozen(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset | deque):
        return type(value)(frozen(item, depth + 1) for item in value)
    return value


def _exactly(kind: type[_Value], value: Any) -> _Value:
    if type(value) is not kind:
        raise TypeError(f"the program returned {type(value).__name__} where {kind.__name__} was due")
    return value


class Caller:
    """Asks the program, and remembers the last exception that came from it."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.raised: BaseException | None = None
        self.message = ""

    def wait_until_loaded(self) -> None:
        """Wait until the program's definitions ran through; raise what stopped them."""
        self._receive()

    def name(self, name: str) -> Any:
        """Return a global of the program; raise NameError when it has none."""
        return self._reply([], {"do": "name", "name": name})

    def call_name(self, name: str, args: list[Any]) -> Any:
        """Return what a global of the program returns, asked before the program has loaded: nobody waits twice."""
        with contextlib.suppress(LinkClosedError):  # what it said before it ended is still to be read
            self._link.send({"do": "call name", "name": name, "args": args})
        self.wait_until_loaded()
        return decode(self._receive()["ok"], self._object)

    def ask(self, do: str, *args: Any, **keywords: Any) -> Any:
        """Have the program do one thing with plain values and its own objects."""
        sent = [encode(item, self._number) for item in args]
        named = {key: encode(item, self._number) for key, item in keywords.items()}
        return self._reply(list(args), {"do": do, "args": sent, "keywords": named})

    def _number(self, value: Any) -> int:
        if type(value) is not Remote:
            raise NotPlainError(f"a test cannot hand a {type(value).__name__} to the program")
        number = object.__getattribute__(value, "_number")
        return int(number)

    def _object(self, number: Any) -> Remote:
        return Remote(self, int(number))

    def _reply(self, args: list[Any], request: dict[str, Any]) -> Any:
        self._link.send(request)
        reply = self._receive()
        for index, data in reply.get("changed", {}).items():
            _replace(args[int(index)], decode(data, self._object))
        return decode(reply["ok"], self._object)

    def _receive(self) -> dict[str, Any]:
        reply: dict[str, Any] = self._link.receive()
        if "error" in reply:
            raise self._note(reply["error"])
        return reply

    def _note(self, error: list[str]) -> BaseException:
        name, text = str(error[0])[:_LONGEST_NAME], str(error[1])[:_LONGEST_TEXT]
        kind = getattr(builtins, name, None)
        plain = isinstance(kind, type) and issubclass(kind, Exception) and kind is not AssertionError
        self.message = f"{name}: {text}"
        try:
            self.raised = kind(text) if plain and kind is not None else ProgramError(self.message)
        except TypeError:  # some built-in exceptions want more than a text
            self.raised = ProgramError(self.message)
        return self.raised


def _replace(old: Any, new: Any) -> None:
    """Give a container its new contents, as the call did in the program's process."""
    if isinstance(old, (list, bytearray)):
        old[:] = new
    elif isinstance(old, (dict, set)):
        old.clear()
        old.update(new)


def run_test(spec: dict[str, Any], link: Link, result: int) -> int:
    """Run a test to its end and write what came of it, as JSON, to the file ``result``."""
    caller = Caller(link)
    try:
        verdict = _run(spec, caller)
        if link.broken:  # the test code swallowed it
            raise LinkClosedError
    except LinkClosedError:
        verdict = {"passed": False, "reason": "gone", "message": "the program ended before its test did"}
    except FrameTooLongError:
        verdict = {"passed": False, "reason": "output limit", "message": "a returned value is too large"}
    except BaseException as error:
        own = error is caller.raised
        reason = "runtime error" if own or isinstance(error, NameError) else "wrong answer"
        reason = "sandbox error" if isinstance(error, CheckerError) else reason
        message = caller.message if own else _where(error, spec.get("code", ""))
        verdict = {"passed": False, "reason": reason, "message": message}
    _write(verdict, result)
    return 0


def _write(verdict: dict[str, Any], result: int) -> None:
    """Write a verdict of bounded size: whatever a program returned or raised, the parent can read it."""
    told = {
        "passed": verdict["passed"] is True,
        "reason": str(verdict["reason"])[:_LONGEST_NAME],
        "message": str(verdict["message"])[:_LONGEST_TEXT],
    }
    with open(result, "wb", closefd=False) as file:
        file.write(dumps(told))


def _run(spec: dict[str, Any], caller: Caller) -> dict[str, Any]:
    random.seed(0)
    if spec["role"] == "function":
        return _run_function(spec, caller)
    caller.wait_until_loaded()
    space: dict[str, Any] = {"__name__": "test", "__builtins__": builtins}
    sys.modules["test"] = types.ModuleType("test")
    entry = spec["entry_point"]
    setup = spec["setup"] if _compiles(spec["setup"]) else ""
    _bind(setup + "\n" + spec["code"], space, caller, entry)
    execute(setup, "setup.py", space)
    if entry:
        space[entry] = caller.name(entry)
    execute(spec["code"], "test.py", space)
    return _PASSED


def _run_function(spec: dict[str, Any], caller: Caller) -> dict[str, Any]:
    """Compare what the function returned with the expected value."""
    got = caller.call_name(spec["name"], spec["args"])
    expected, mode = spec["expected"], spec["compare"]
    if mode == "checker":
        got = frozen(got)
        same = _ask_checker(spec["checker"], spec["args"], expected, got)
    else:
        same = same_value(expected, got, mode, spec["tolerance"])
    message = f"expected {_brief(expected)}, got {_brief(got)}"
    return _PASSED if same else {"passed": False, "reason": "wrong answer", "message": message}


def _brief(value: Any) -> str:
    text = dumps(encode(value, id)).decode()
    return text if len(text) <= 80 else text[:77] + "..."


def _ask_checker(source: str, given: Any, expected: Any, got: Any) -> bool:
    space: dict[str, Any] = {"__name__": "checker"}
    try:
        execute(source, "checker.py", space)
        check = space["check"]
    except Exception as error:
        raise CheckerError(f"the checker cannot be used: {type(error).__name__}: {error}") from None
    return bool(check(given, expected, got))


def _compiles(source: str) -> bool:
    try:
        compile(source, "setup.py", "exec")
    except SyntaxError:
        return False
    return True


def _free_names(tree: ast.AST) -> list[str]:
    """Return the names that the code reads and binds nowhere, in order of first use."""
    read: dict[str, None] = {}
    bound: set[str] = set(dir(builtins))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Load):
                read.setdefault(node.id)
            else:
                bound.add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.add(node.name)
    return [name for name in read if name not in bound]


def _bind(source: str, space: dict[str, Any], caller: Caller, entry: str | None) -> None:
    """Fetch the names that the code leaves free from the program.

    What can only be a module of the standard library (``math.isclose``) is imported here, never asked for, and so is what is
    known by its name (``Counter``, ``np.allclose``), unless it is all that the code leaves free: then it is what is tested.
    """
    tree = ast.parse(source)
    bases = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    plain = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in bases}
    free = _free_names(tree)
    tested = [name for name in free if name not in _OFFERED or name == entry]
    for name in free:
        if name in sys.stdlib_module_names and name not in plain:
            space[name] = importlib.import_module(name)
            continue
        if name in ("np", "numpy") and name not in plain:
            with contextlib.suppress(ImportError):
                space[name] = importlib.import_module("numpy")
                continue
        if name in _OFFERED and tested and name != entry:
            space[name] = getattr(importlib.import_module(_OFFERED[name]), name)
            continue
        try:
            space[name] = caller.name(name)
        except NameError:
            continue  # the test code fails at the line that needs it


def run_output_check(spec: dict[str, Any], result: int) -> int:
    """Compare a long output with the expected one and write whether they agree."""
    passed = same_output(spec["expected"], spec["got"], spec["compare"], spec["tolerance"])
    _write({"passed": passed, "reason": "wrong answer", "message": "another output"}, result)
    return 0


def _where(error: BaseException, code: str) -> str:
    """Return the failing line of the test code and the error."""
    line = ""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "test.py":
            line = code.splitlines()[trace.tb_lineno - 1].strip()
        trace = trace.tb_next
    message = f"{type(error).__name__}: {error}".rstrip(": ")
    return f"{line} ({message})" if line else message


def run_checker(spec: dict[str, Any], result: int) -> int:
    """Ask a problem's own ``check(input, expected, got)`` and write whether it agreed."""
    random.seed(0)
    try:
        passed = _ask_checker(spec["checker"], spec["input"], spec["expected"], spec["got"])
        verdict = {"passed": passed, "reason": "wrong answer", "message": "the checker says no"}
    except CheckerError as error:
        verdict = {"passed": False, "reason": "sandbox error", "message": str(error)}
    except BaseException as error:
        # Checkers read what they expect: output that one cannot read is not right.
        message = f"the checker failed on this output: {type(error).__name__}: {error}"
        verdict = {"passed": False, "reason": "wrong answer", "message": message}
    _write(verdict, result)
    return 0
