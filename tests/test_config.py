"""Settings: TOML in and out, overrides, presets, and messages that end the search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tpt.config import PRESETS, RunConfig, Section, load_config, parse_config, render_toml
from tpt.config.engine_section import sampling_settings
from tpt.errors import ConfigError

EXAMPLES = Path(__file__).parents[1] / "examples"
# What a TOML file can hold: any character but half a surrogate pair.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ODD = [
    " = ",
    "a = b",
    'quote " and \\',
    "line\nbreak\r\ttab",
    "\x00\x1b\x7f\x85\u2028\ufeff",
    "'''",
    '"""',
    "#]",
    "{",
    "é漢🙂",
]


def refused(table: dict[str, Any], *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(table, list(overrides), where="run.toml")
    return str(caught.value)


def reread(config: RunConfig, folder: Path) -> RunConfig:
    path = folder / "config.toml"
    path.write_text(render_toml(config), encoding="utf-8", newline="\n")
    return load_config(path)


@settings(deadline=None, max_examples=60)
@given(
    text=TEXT | st.sampled_from(ODD),
    columns=st.dictionaries(TEXT | st.sampled_from(ODD), TEXT, max_size=3),
    shots=st.lists(st.fixed_dictionaries({"question": TEXT, "answer": TEXT | st.sampled_from(ODD)}), max_size=3),
    temperature=st.floats(0, allow_infinity=False),
    rate=st.floats(5e-324, 10),
    seed=st.integers(0, 2**70),
    ks=st.lists(st.integers(1, 5), max_size=3),
    size=st.integers(1) | st.just("all"),
)
def test_every_value_survives_the_way_through_toml(
    tmp_path_factory: pytest.TempPathFactory,
    text: str,
    columns: dict[str, str],
    shots: list[dict[str, str]],
    temperature: float,
    rate: float,
    seed: int,
    ks: list[int],
    size: int | str,
) -> None:
    table: dict[str, Any] = {
        "model": text or "embedded",
        "rounds": 1 if text else 0,
        "seed": seed,
        "problems": {"train": text, "columns": columns},
        "prompt": {"system": text, "template": text + "{question}" + text, "few_shot": shots},
        "think": {"temperature": temperature},
        "prune": {"size": size},
        "train": {"learning_rate": rate},
        "evaluate": {"ks": ks},
    }
    config = parse_config(table)
    assert config.model == (text or "embedded") and config.problems.columns == columns
    assert reread(config, tmp_path_factory.mktemp("config")) == config


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_examples_parse_and_survive(example: Path, tmp_path: Path) -> None:
    config = load_config(example)
    assert reread(config, tmp_path) == config


def test_rendered_toml_has_every_key_with_its_meaning() -> None:
    text = render_toml(RunConfig())
    for name, field in RunConfig.model_fields.items():
        value = getattr(RunConfig(), name)
        keys = type(value).model_fields if isinstance(value, Section) else {name: field}
        assert not isinstance(value, Section) or f"\n[{name}]  # " in text
        for key, described in keys.items():
            assert described.description and f"# {described.description}\n{key} = " in text


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"modl": "x"}, "run.toml: unknown key 'modl'. Did you mean 'model'?"),
        ({"thnik": {}}, "run.toml: unknown key 'thnik'. Did you mean 'think'?"),
        ({"think": {"sampls": 3}}, "run.toml: unknown key 'think.sampls'. Did you mean 'think.samples'?"),
        ({"engine": {"threads": 1}}, "unknown key 'engine.threads'. Did you mean 'threads'?"),
        ({"samples": 1}, "unknown key 'samples'. Did you mean 'think.samples' or 'evaluate.samples'?"),
        ({"threads": 1025}, "threads = 1025: should be less than or equal to 1024"),
        ({"model": ""}, "model = '': should not be empty"),
        ({"zzz": 1}, "run.toml: unknown key 'zzz'."),
        (
            {"prompt": {"few_shot": [{"question": "q", "answer": "a", "anser": "a"}]}},
            "run.toml: unknown key 'prompt.few_shot.0.anser'. Did you mean 'answer'?",
        ),
        ({"prompt": {"few_shot": [{"question": "q"}]}}, "run.toml: prompt.few_shot.0.answer is missing"),
        ({"preset": "sta"}, "preset = 'sta' is not known, allowed: tpt, star, rft"),
        ({"preset": ["star"]}, "preset = ['star'] is not known"),
        ({"think": 3}, "run.toml: think = 3: should be a section of keys"),
        ({"think": {"samples": 0}}, "run.toml: think.samples = 0: should be greater than or equal to 1"),
        ({"think": {"samples": "3"}}, "run.toml: think.samples = '3': should be a valid integer"),
        ({"think": {"samples": 2.5}}, "think.samples = 2.5: should be a valid integer"),
        ({"rounds": True}, "rounds = True: should be a valid integer"),
        ({"think": {"temperature": -0.1}}, "think.temperature = -0.1: should be greater than or equal to 0"),
        ({"think": {"temperature": float("nan")}}, "think.temperature = nan: should be a finite number"),
        ({"think": {"top_p": 0}}, "think.top_p = 0: should be greater than 0"),
        ({"think": {"sampler": "fixd"}}, "think.sampler = 'fixd': should be 'until_full' or 'fixed'"),
        ({"prune": {"max_solve_rate": 0.99}}, "no solve rate is known, but prune.min_solve_rate = 0,"),
        ({"prune": {"min_solve_rate": 0.5, "max_solve_rate": 0.4}}, "leave no problem"),
        ({"prune": {"size": "al"}}, "prune.size = 'al': should be a valid integer, or should be 'all'"),
        ({"prune": {"size": 0}}, "prune.size = 0: should be greater than or equal to 1, or should be 'all'"),
        ({"prune": {"dedupe": ["a"]}}, "prune.dedupe = ['a']: should be 'exact', 'equations' or 'none'"),
        ({"problems": {"columns": {"literal[": 5}}}, "problems.columns.literal[ = 5: should be a valid string"),
        ({"engine": {"name": "vlm"}}, "engine.name = 'vlm': should be 'auto', 'hf', 'vllm', 'server' or 'ray'"),
        ({"evaluate": {"ks": [1, 0]}}, "evaluate.ks.1 = 0: should be greater than or equal to 1"),
        ({"evaluate": {"ks": 3}}, "evaluate.ks = 3: should be a valid list"),
        ({"evaluate": {"ks": [9]}}, "evaluate: pass@9 needs at least 9 samples of every problem, got samples = 5"),
        (
            {"prompt": {"template": "x"}},
            "prompt.template: must contain {question} or be one of paper, paper-code, got 'x'; put {question} where",
        ),
        (
            {"prompt": {"template": "papr"}},
            "got 'papr'; put {question} where the problem's text belongs. Did you mean 'paper'?",
        ),
        ({"train": {"batch_size": 3}}, "train: batch_size = 3 is no multiple of micro_batch_size = 2"),
        ({"data": {"source": "file"}}, 'data: file and source = "file" go together, got source = "file", file = ""'),
        ({"data": {"file": "x"}}, 'go together, got source = "self", file = "x": set data.file to'),
        (
            {"prune": {"per_problem": "all"}},
            "prune.per_problem = 'all' with prune.pick = 'random' chooses among all of them: set think.sampler = \"fixed\"",
        ),
        ({"prune": {"pick": "shortest"}}, "prune.per_problem = 1 with prune.pick = 'shortest'"),
        ({"prune": {"pick": "mine.py:best"}}, "prune.pick = 'mine.py:best' chooses among all of them"),
        ({"prune": {"weigh": "mine.py:weigh"}}, "prune.pick = 'random' and prune.weigh chooses among all of them"),
        (
            {"prune": {"pick": "rndom"}},
            "prune.pick = 'rndom': should be 'random', 'first', 'shortest', 'longest' or 'diverse', or should be a function of "
            "your own, FILE.py:FUNCTION or MODULE:FUNCTION",
        ),
        (
            {"think": {"hint_by": "hint.py"}},
            "think.hint_by = 'hint.py': should be a function of your own, FILE.py:FUNCTION",
        ),
        ({"train": {"loss": ":dft"}}, "or should be a function of your own"),
    ],
)
def test_a_message_names_the_key_what_it_got_and_what_is_allowed(table: dict[str, Any], message: str) -> None:
    assert message in refused(table)


def test_all_mistakes_are_told_at_once_a_line_each() -> None:
    lines = refused({"think": {"samples": 0, "sampels": 1}, "rounds": -1}).splitlines()
    assert len(lines) == 3 and all(line.startswith("run.toml: ") for line in lines)


def test_a_huge_wrong_value_is_not_printed_whole() -> None:
    assert len(refused({"think": {"samples": "9" * 100_000}})) < 500


def test_several_traces_of_a_problem_are_fine_where_the_model_samples_none() -> None:
    table = {"data": {"source": "human"}, "prune": {"per_problem": "all"}}
    assert parse_config(table).prune.per_problem == "all"


def test_overrides_are_toml_values_or_else_text() -> None:
    table: dict[str, Any] = {"think": {"samples": 3}}
    config = parse_config(
        table,
        [
            "think.samples=20",
            "model=some/folder",
            "prune.size=all",
            "prompt.system=",
            "evaluate.ks=[1, 2]",
            "stop.patience = 0",
        ],
    )
    assert config.think.samples == 20 and config.model == "some/folder" and config.prune.size == "all"
    assert config.prompt.system == "" and config.evaluate.ks == [1, 2] and config.stop.patience == 0
    assert table == {"think": {"samples": 3}}, "the caller's table stays as it was"


@pytest.mark.parametrize("override", ["a", "=3", "think..samples=3", ".=1", ""])
def test_a_malformed_override_is_explained(override: str) -> None:
    assert refused({}, override) == f"--set {override}: expected KEY=VALUE, for example --set think.samples=20"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("think.samples=0", "--set think.samples=0: think.samples = 0: should be greater"),
        ("engin.slots=2", "--set engin.slots=2: unknown key 'engin'. Did you mean 'engine'?"),
        ('think={samples="x"}', "--set think={samples=\"x\"}: think.samples = 'x': should be a valid integer"),
    ],
)
def test_a_mistake_of_an_override_is_told_as_one(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_config({"prune": {"size": 0}}, [override], where="run.toml")
    lines = str(error.value).splitlines()
    assert any(line.startswith(message) for line in lines)
    assert any(line.startswith("run.toml: prune.size = 0: ") for line in lines)


def test_an_override_cannot_go_below_a_value() -> None:
    assert refused({"rounds": 3}, "rounds.x=3") == "--set rounds.x=3: 'rounds' is a value, not a section"
    assert "unknown key 'think.sampls'. Did you mean 'think.samples'?" in refused({}, "think.sampls=3")


@pytest.mark.parametrize("preset", [name for name in PRESETS if name != "distilled"])
def test_a_preset_sets_its_keys_and_an_explicit_key_wins(preset: str, tmp_path: Path) -> None:
    config = parse_config({"preset": preset})
    for section, values in PRESETS[preset].items():
        found = config.model_dump()[section]
        assert values.items() <= found.items() if isinstance(values, dict) else values == found
    assert reread(config, tmp_path) == config
    explicit = parse_config({"preset": preset, "prune": {"size": 7}, "train": {"start_from": "last"}})
    assert explicit.prune.size == 7 and explicit.train.start_from == "last"


def test_a_preset_given_by_override_counts() -> None:
    assert parse_config({}, ["preset=star"]).train.start_from == "base"


def test_the_distilled_preset_asks_for_its_file() -> None:
    assert "set data.file to another model's traces.jsonl" in refused({"preset": "distilled"})
    config = parse_config({"preset": "distilled"}, ["data.file=other.jsonl"])
    assert config.data.source == "file" and config.data.file == "other.jsonl"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"model = ", "not valid TOML: "),
        (b"\xff\xfe", "cannot be read as UTF-8 text: "),
        (b"think = 3", "should be a section of keys"),
        (b"", "the file is empty. tpt init prints a config"),
        (b" \r\n\t\n", "the file is empty"),
        ("rounds = 1".encode("utf-16"), "Save the file as UTF-8"),
        (b"rounds = " + b"[" * 5_000, "nested too deeply"),
    ],
)
def test_an_unreadable_file_is_named(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(path)
    assert str(caught.value).startswith(str(path))


def test_what_editors_on_windows_save_is_read(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes("\ufeffrounds = 3\r\n[think]\r\nsamples = 7\r\n".encode())
    assert (load_config(path).rounds, load_config(path).think.samples) == (3, 7)


def test_an_override_is_one_value_and_is_named_where_it_is_wrong() -> None:
    text = "a\nthink.samples = 9"
    assert parse_config({}, [f"prompt.system={text}"]).prompt.system == text
    # Lines that are TOML of their own are no keys beside the one that is set.
    assert parse_config({}, ['prompt.system="a"\nseed = 9']).prompt.system == '"a"\nseed = 9'
    assert refused({}, "preset=tptt").startswith("--set preset=tptt: preset = 'tptt' is not known")
    assert "--set prompt.few_shot: lists or tables nested too deeply" in refused({}, "prompt.few_shot=" + "[" * 5_000)
    assert "problems.heldout is empty" in refused({}, "problems.heldout=")


def test_a_missing_file_and_a_folder_are_explained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such config file. Make one with: tpt init > run.toml"):
        load_config(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match=r"Is a directory\. Name another path"):
        load_config(tmp_path)


@pytest.mark.parametrize(
    "engine",
    [
        {"name": "vllm"},
        {"name": "server", "url": "http://localhost:8000/v1"},
        {"device": "cuda"},
        {"name": "hf", "device": "cuda"},
        {"name": "ray", "replica_engine": "vllm"},
        {"name": "ray", "replica_gpus": 0.5},
    ],
)
@pytest.mark.parametrize("section", ["engine", "evaluate"])
def test_int8_is_for_cpus(section: str, engine: dict[str, Any]) -> None:
    key = "weights" if section == "engine" else "evaluate.weights"
    said = refused({"engine": engine}, f"{section}.weights=int8")
    assert f'{key} = "int8" is for the hf engine on CPUs, not for ' in said
    assert f'set {key} = "full", or engine.name = "hf" and engine.device = "cpu"' in said


def test_scores_are_in_full_precision_unless_asked() -> None:
    thinking = parse_config({"engine": {"weights": "int8"}}, [], where="run.toml")
    assert thinking.for_scoring.engine == thinking.engine.model_copy(update={"weights": "full"})
    scoring = parse_config({"evaluate": {"weights": "int8"}}, [], where="run.toml")
    assert (scoring.engine.weights, scoring.for_scoring.engine.weights) == ("full", "int8")
    settings = sampling_settings(thinking.engine, "full")
    assert "weights" not in settings, "as the stages of before there was the key say"
    assert sampling_settings(thinking.engine, "int8") == {**settings, "weights": "int8"}
