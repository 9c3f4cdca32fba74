"""How completions are sampled: by what, on what."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from tpt.config.section import Count, Fraction, OwnCode, Section
from tpt.system.own_code import is_own_code, own_code_digest

Option = str | bool | int | float | list[str] | list[int]

OPERATIONAL = (
    "slots",
    "tensor_parallel_size",
    "gpu_memory_utilization",
    "url",
    "concurrency",
    "timeout_s",
    "retries",
    "max_errors",
    "api_key_env",
    "reload",
    "ray_address",
    "replicas",
    "replica_cpus",
    "replica_gpus",
)
"""Keys that say where and how fast completions are sampled, not which: no finished stage depends on them."""


class EngineConfig(Section):
    """What turns prompts into completions."""

    name: Literal["auto", "hf", "vllm", "server", "ray"] | OwnCode = Field(
        "auto",
        description="hf: in-process decoder; vllm: vLLM in-process; server: an OpenAI-compatible one; "
        "ray: replicas of hf or vllm in a Ray cluster; auto: vllm where it is installed and sees a GPU, else hf; or your own "
        "function that opens one",
    )
    slots: int = Field(
        0, ge=0, description="hf, vllm, each replica: completions decoded at once; 0: as many as suit the machine"
    )
    max_length: int = Field(0, ge=0, description="longest prompt + completion in tokens; 0: what the problems need")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="hf, vllm: auto: cuda where there is one")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="hf, vllm: auto: bfloat16 on cuda and, where a cpu has it, for hidden sizes from 512 on"
    )
    weights: Literal["full", "int8"] = Field(
        "full",
        description="hf on a cpu: int8: think with linear layers in 8 bits, faster and a little different; training, "
        "checkpoints and, unless evaluate.weights says otherwise, scores stay in full precision. See docs/engines.md",
    )
    batch_invariant: bool = Field(
        False, description="hf: fixed decode shapes: a completion depends on its own request alone, bit for bit"
    )
    tensor_parallel_size: Count = Field(1, description="vllm: GPUs that hold the model together")
    gpu_memory_utilization: Fraction = Field(0.9, description="vllm: share of a GPU's memory to take")
    url: str = Field("", description="server: its address, such as http://localhost:8000/v1; no key or password in it")
    served_model: str = Field(
        "", description="server: the model's name there; empty: the model's path, or the only one"
    )
    prompt: Literal["tokens", "text"] = Field(
        "tokens", description="server: send prompts as token ids, or as text where it takes no ids"
    )
    concurrency: Count = Field(32, description="server: requests in flight at once")
    timeout_s: Annotated[float, Field(gt=0)] = Field(
        600.0, description="server: longest wait for one answer; ray: for room in the cluster or a replica's answer"
    )
    retries: int = Field(8, ge=0, description="server: further tries of a request that failed in passing")
    max_errors: float = Field(
        0.05,
        ge=0,
        le=1,
        description="server: share of a stage's requests that may fail for good, each the error of its sample, before the stage "
        "stops; of 200 requests at least",
    )
    api_key_env: str = Field(
        "TPT_API_KEY", description="server: environment variable that holds the key, if it wants one"
    )
    reload: str = Field(
        "", description="server: command that has it serve {model}; run before every stage that samples"
    )
    ray_address: str = Field(
        "auto",
        description="ray, and where = ray of verify and train: host:port or ray://host:port of a cluster; local: one started "
        "for every stage; auto: RAY_ADDRESS, else what `ray start` runs on this machine, else local",
    )
    replica_engine: Literal["hf", "vllm"] = Field("hf", description="ray: what every replica samples with")
    replicas: int = Field(0, ge=0, description="ray: how many; 0: as many as the cluster holds")
    replica_cpus: Count = Field(1, description="ray: CPUs of a replica, and its threads where threads = 0")
    replica_gpus: float = Field(
        0.0,
        ge=0,
        description="ray: GPUs of a replica, or a share of one; 0: none for hf, tensor_parallel_size for vllm",
    )
    options: dict[str, Option] = Field(
        {}, description="vllm: further engine arguments; server: further fields of every request"
    )

    @model_validator(mode="after")
    def _keys_fit_the_engine(self) -> Self:
        sampler = self.replica_engine if self.name == "ray" else self.name
        if self.batch_invariant and sampler in ("vllm", "server"):
            key = "replica_engine" if self.name == "ray" else "name"
            raise ValueError(
                f'batch_invariant = true is a promise that {key} = {sampler!r} cannot make: set {key} = "hf", or '
                "batch_invariant = false"
            )
        check_weights(self, self.weights, "weights")
        if self.options and sampler in ("auto", "hf"):
            raise ValueError(
                f'options are for name = "vllm" or "server", got {sorted(self.options)} with {self.name!r}'
            )
        if self.name == "ray":
            self._check_replicas()
        if self.name == "server" or self.url:
            _check_url(self.url)
        if self.reload and "{model}" not in self.reload:
            raise ValueError("reload does not contain {model}; put {model} where the model's folder belongs")
        # Judging and training on Ray go by it too.
        _check_ray_address(self.ray_address)
        return self

    def _check_replicas(self) -> None:
        """Raise ValueError for replicas that Ray or the engine in them could not be given."""
        gpus, most = self.replica_gpus, self.tensor_parallel_size if self.replica_engine == "vllm" else 1
        if gpus > 1 and gpus != int(gpus):
            raise ValueError(f"replica_gpus is a whole number or a share of one GPU, below 1; got {gpus}")
        if gpus and ((gpus > most) or (most > 1 and gpus != most)):
            raise ValueError(
                f"replica_gpus = {gpus:g}, but a replica with replica_engine = {self.replica_engine!r} and "
                f"tensor_parallel_size = {self.tensor_parallel_size} uses {most}; leave replica_gpus at 0, or set it to {most}"
            )
        if self.device == "cpu" and gpus:
            raise ValueError(f'device = "cpu", but replica_gpus = {gpus:g}; set replica_gpus = 0')
        if self.device == "cuda" and self.replica_engine == "hf" and not gpus:
            raise ValueError('device = "cuda", but Ray gives a replica of hf no GPU: set replica_gpus = 1')


def sampling_settings(engine: EngineConfig, weights: str) -> dict[str, Any]:
    """Return what samples depend on; stages of before there was the key ``weights`` sampled with full ones.

    Raises:
        OwnCodeError: the engine is a function in a file that is not there.
    """
    settings = engine.model_dump(exclude={"weights", *OPERATIONAL})
    if weights != "full":
        settings["weights"] = weights
    if is_own_code(engine.name):
        settings["own_code"] = own_code_digest(engine.name)
    return settings


def check_weights(engine: EngineConfig, weights: str, key: str) -> None:
    """Raise ValueError where an engine cannot sample with such weights; ``key`` is the option that asks for them."""
    sampler = engine.replica_engine if engine.name == "ray" else engine.name
    if weights == "full" or (sampler in ("auto", "hf") and engine.device != "cuda" and not engine.replica_gpus):
        return
    at = f"name = {engine.name!r}" if engine.name != "ray" else f"replicas of {sampler!r}"
    where = f"{at}, device = {engine.device!r}, replica_gpus = {engine.replica_gpus:g}"
    raise ValueError(
        f'{key} = "int8" is for the hf engine on CPUs, not for {where}: set {key} = "full", or engine.name = "hf" and '
        'engine.device = "cpu"'
    )


def _check_ray_address(address: str) -> None:
    """Raise ValueError for what is neither a word we know nor an address of the form that Ray takes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    usable = bool(host) and port.isdecimal() and 0 < int(port) < 2**16 and not any(map(str.isspace, address))
    if address not in ("auto", "local") and (not usable or "@" in host or "/" in host):
        raise ValueError(
            f"ray_address = {address!r} is no address: set it to host:port of the head node, ray://host:port, "
            '"local" or "auto"'
        )


def _check_url(url: str) -> None:
    """Raise ValueError for what is no server's address; never with the address, which may hold a password."""
    example = "expected one like http://localhost:8000/v1"
    if not url:
        raise ValueError(f'name = "server" needs engine.url, the address of the server; {example}')
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
        parts = urlsplit("")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(
            "url holds a user name, password, query or fragment, which would be written into files. Take it out; a key "
            "belongs into the environment variable that engine.api_key_env names"
        )
    if not usable or any(character.isspace() for character in url):
        raise ValueError(f"url is not an http or https address; {example}")
