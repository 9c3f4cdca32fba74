"""Write docs/reference/ and docs/llms.txt from the config, the public docstrings and the pages: ``python -m tools.reference``."""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

import tpt
from tools.docs_site import REPOSITORY
from tpt.config import PRESETS, RunConfig, Section, config_schema

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
_WRITTEN = "Written by `python -m tools.reference`."


def pages() -> dict[Path, str]:
    """Return every page that is written here, as it should be."""
    reference = DOCS / "reference"
    written = {reference / "config.md": _config_page(), reference / "api.md": _api_page()}
    return {**written, DOCS / "llms.txt": _llms_page(written)}


def _config_page() -> str:
    schema = config_schema()
    named = schema["$defs"]
    lines = [
        "# Every key of a config",
        "",
        f"{_WRITTEN} `tpt init --full` prints the same as a config; `tpt schema` is for editors ([terminal.md](../terminal.md)).",
        "On the command line: `--set section.key=value`. What depends on several keys at once only loading checks.",
    ]
    top = {name: each for name, each in schema["properties"].items() if "$ref" not in each}
    defaults = RunConfig().model_dump()
    lines += ["", "## Keys of no section", "", *_key_table(top, named, defaults)]
    for name, field in RunConfig.model_fields.items():
        if isinstance(field.default, Section):
            section = type(field.default)
            lines += ["", f"## `[{name}]`", "", section.__doc__ or "", ""]
            lines += _key_table(named[section.__name__]["properties"], named, defaults[name])
    lines += ["", "## Presets", "", "`preset` sets other defaults; an explicit key wins over it.", ""]
    lines += ["| preset | sets |", "|---|---|"]
    for preset, sections in PRESETS.items():
        given = [
            (f"{name}.", keys) if isinstance(keys, dict) else ("", {name: keys}) for name, keys in sections.items()
        ]
        said = [f"`{head}{key} = {json.dumps(value)}`" for head, keys in given for key, value in keys.items()]
        lines.append(f"| `{preset}` | {', '.join(said) or 'the defaults above'} |")
    return "\n".join(lines) + "\n"


def _key_table(properties: dict[str, Any], named: dict[str, Any], defaults: dict[str, Any]) -> list[str]:
    rows = ["| key | default | allowed | meaning |", "|---|---|---|---|"]
    for key, schema in properties.items():
        cells = [f"`{key}`", f"`{json.dumps(defaults[key])}`", _allowed(schema, named)]
        rows.append("| " + " | ".join(each.replace("|", "\\|") for each in [*cells, schema["description"]]) + " |")
    return rows


def _allowed(schema: dict[str, Any], named: dict[str, Any]) -> str:
    """Return in words what a JSON Schema allows."""
    if "$ref" in schema:
        return ", ".join(f"`{key}`" for key in named[schema["$ref"].rpartition("/")[2]]["properties"])
    if "anyOf" in schema:
        return ", or ".join(_allowed(each, named) for each in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{json.dumps(value)}`" for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {_allowed(schema['items'], named)}"
    bounds = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    said = [f"{sign} {schema[bound]:g}" for bound, sign in bounds.items() if bound in schema]
    words = {"object": "table", "string": "text", "boolean": "`true`, `false`"}
    return " ".join([words.get(schema["type"], schema["type"]), *said])


def _api_page() -> str:
    lines = ["# Public names", "", f"{_WRITTEN} `import tpt` gives all of them; every other name may change.", ""]
    for name in tpt.__all__:
        value = getattr(tpt, name)
        if not isinstance(value, str):
            (node,) = ast.parse(textwrap.dedent(inspect.getsource(value))).body
            lines += [f"## {name}", "", *_class_lines(node), ""]
    return "\n".join(lines).rstrip() + "\n"


def _class_lines(node: ast.stmt) -> Iterator[str]:
    """Yield the lines of a function, or of a class with its fields and public methods."""
    if isinstance(node, ast.FunctionDef):
        yield from _function_lines(node)
    if not isinstance(node, ast.ClassDef):
        return
    yield from _prose(node)
    methods = [each for each in node.body if isinstance(each, ast.FunctionDef)]
    methods = [each for each in methods if each.name == "__init__" or not each.name.startswith("_")]
    if node.name == RunConfig.__name__:
        yield from ["", "Its keys: [config.md](config.md)."]
        return
    yield ""
    yield from _field_lines(node.body)
    for method in methods:
        yield from ["", *([f"### {node.name}.{method.name}", ""] if method.name != "__init__" else [])]
        yield from _function_lines(method)


def _field_lines(body: list[ast.stmt]) -> Iterator[str]:
    for statement, after in zip(body, [*body[1:], ast.Pass()], strict=True):
        said = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
        said = f": {' '.join(str(said).split())}" if said else ""
        if isinstance(statement, ast.AnnAssign):
            yield f"- `{ast.unparse(statement)}`{said}"
        elif isinstance(statement, ast.Assign):
            yield f"- `{ast.unparse(statement.targets[0])}`{said}"


def _function_lines(node: ast.FunctionDef) -> Iterator[str]:
    is_property = any(ast.unparse(each) == "property" for each in node.decorator_list)
    result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    arguments = "" if is_property else f"({ast.unparse(node.args)})"
    yield from ["```python", f"{node.name}{arguments}{result}", "```", "", *_prose(node)]


def _prose(node: ast.FunctionDef | ast.ClassDef) -> list[str]:
    """Return a docstring as Markdown: sections of arguments and errors as lists, examples as code."""
    text, *sections = re.split(r"(?m)^(?=(?:Args|Raises|Returns):$)", ast.get_docstring(node) or "")
    for section in sections:
        title, _, items = section.partition("\n")
        text += f"{title}\n\n" + re.sub(r"(?m)^ {6,}", "  ", re.sub(r"(?m)^ {4}(?=\w)", "- ", items))
    return text.replace("\n::\n", "").splitlines()


def _llms_page(written: dict[Path, str]) -> str:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    address = f"{REPOSITORY}/blob/main"
    lines = [f"# {site['site_name']}", "", f"> {site['site_description']}", ""]
    lines += [
        "From a CSV to an honest answer in two commands: the tutorial. For agents: AGENTS.md.",
        "",
        "## Start",
        "",
    ]
    lines += [f"- [{name}]({address}/{name})" for name in ("README.md", "AGENTS.md")]
    for entry in site["nav"][1:]:
        ((title, found),) = entry.items()
        if isinstance(found, str):
            lines.append(_llms_line(found, written, address))
        else:
            lines += ["", f"## {title}", "", *(_llms_line(page, written, address) for page in found)]
    return "\n".join(lines) + "\n"


def _llms_line(name: str, written: dict[Path, str], address: str) -> str:
    text = written.get(DOCS / name) or (DOCS / name).read_text(encoding="utf-8")
    return f"- [{text.splitlines()[0].removeprefix('# ')}]({address}/docs/{name})"


if __name__ == "__main__":
    for path, text in pages().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
