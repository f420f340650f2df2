"""An agent: immutable configuration, known by its content's hash."""

from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Literal

from factory_contracts.work import AgentSpec, Approvals, Files, Limits, McpServer

HASH_LENGTH = 12
# The provider of the model that does what a person types, and costs nothing.
BY_HAND = "hand"

WhileRunning = Literal["queue", "steer", "interrupt"]


@dataclass(frozen=True, slots=True)
class Agent:
    """Who answers: a model, what it is told to be, what it may use, and how far one turn may go.

    `while_running` says what a message does that comes while another is answered: it waits, it joins, or it takes over.
    The hash changes when anything that the model is shown or may do changes.
    """

    name: str
    model: str
    system: str = ""
    tools: tuple[str, ...] = ()
    namespace: str = ""
    limits: Limits = field(default_factory=Limits)
    description: str = ""
    fallbacks: tuple[str, ...] = ()
    skills: tuple[str, ...] = ()
    mcp: tuple[McpServer, ...] = ()
    helpers: tuple["Agent", ...] = ()
    workers: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()
    files: Files | None = None
    memory: Literal["scope", "person", "agent"] = "scope"
    temperature: float | None = None
    thinking: int = 0
    own_tools: tuple[str, ...] = ()
    permission_mode: str | None = None
    is_dry: bool = False
    allow_unpriced: bool = False
    approvals: Approvals = field(default_factory=Approvals)
    while_running: WhileRunning = "queue"

    hash: str = field(init=False, compare=False)
    _spec: AgentSpec = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # A frozen value is made complete here; every turn asks for both, so they are made once.
        spec = AgentSpec(
            name=self.name,
            hash="-",
            model=self.model,
            fallbacks=self.fallbacks,
            system=self.system,
            tools=self.tools,
            skills=self.skills,
            mcp=self.mcp,
            helpers=tuple(helper.spec() for helper in self.helpers),
            workers=self.workers,
            engines=self.engines or None,
            files=self.files,
            memory=self.memory,
            namespace=self.namespace or self.name,
            temperature=self.temperature,
            thinking=self.thinking,
            own_tools=self.own_tools,
            permission_mode=self.permission_mode,
            is_dry=self.is_dry,
            allow_unpriced=self.allow_unpriced,
            approvals=self.approvals,
            description=self.description,
            limits=self.limits,
        )
        # Its own description is for those who choose; that of a helper is shown to the model that may ask it.
        shown = spec.model_copy(update={"description": ""}).model_dump_json()
        digest = sha256(f"{shown}{self.while_running}".encode()).hexdigest()[:HASH_LENGTH]
        object.__setattr__(self, "hash", digest)
        object.__setattr__(self, "_spec", spec.model_copy(update={"hash": digest}))

    def spec(self) -> AgentSpec:
        """The agent as a worker needs it."""
        return self._spec

    def on(self, model: str | None) -> "Agent":
        """The same agent with another model, where one is named."""
        return self if model is None or model == self.model else replace(self, model=model, fallbacks=())
