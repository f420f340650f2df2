"""An agent: immutable configuration, known by its content's hash."""

from dataclasses import dataclass, field
from hashlib import sha256

from factory_contracts.work import AgentSpec, Limits

HASH_LENGTH = 12


@dataclass(frozen=True, slots=True)
class Agent:
    """Who answers: a model, what it is told to be, what it may use, and how far one turn may go.

    The hash changes when anything that the model is shown or may do changes.
    """

    name: str
    model: str
    system: str = ""
    tools: tuple[str, ...] = ()
    namespace: str = ""
    limits: Limits = field(default_factory=Limits)
    description: str = ""

    hash: str = field(init=False, compare=False)
    _spec: AgentSpec = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # A frozen value is made complete here; every turn asks for both, so they are made once.
        content = (self.name, self.model, self.system, self.tools, self.namespace, self.limits.model_dump_json())
        digest = sha256(repr(content).encode()).hexdigest()[:HASH_LENGTH]
        object.__setattr__(self, "hash", digest)
        spec = AgentSpec(
            name=self.name,
            hash=digest,
            model=self.model,
            system=self.system,
            tools=self.tools,
            namespace=self.namespace or self.name,
            limits=self.limits,
        )
        object.__setattr__(self, "_spec", spec)

    def spec(self) -> AgentSpec:
        """The agent as a worker needs it."""
        return self._spec
