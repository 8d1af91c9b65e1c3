"""A generator's program file in ExecuTorch's runtime, and the conversations that it serves."""

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mlx_coverage import runtime
from mlx_coverage.analyze.execution import load_methods, refuse_foreign
from mlx_coverage.analyze.failures import CallError, InputError
from mlx_coverage.analyze.program_file import fingerprint, read_program
from mlx_coverage.report.files import stage_file

_LONGEST_HEADER = 10**8  # bytes, as safetensors itself allows


@dataclass(frozen=True)
class Metadata:
    """What a program says of itself by methods that return a constant.

    The names are those that ExecuTorch's runners ask for, without `get_`.

    Attributes:
        vocab_size: of the logits.
        max_context_len: most tokens of a conversation.
        max_seq_len: most tokens of a call of `forward`.
        prefill_chunk_size: how many tokens `prefill` takes; 0 without that method.
        max_rewind_len: tokens by which a conversation may go back.
        bos_id: the token that begins a text; None without one.
        eos_ids: the tokens that end one.
    """

    vocab_size: int
    max_context_len: int
    max_seq_len: int
    prefill_chunk_size: int
    max_rewind_len: int
    bos_id: int | None
    eos_ids: tuple[int, ...]


class Program:
    """A generator, loaded once, for any number of sessions.

    Args:
        path: a `.pte` that `mlx-coverage export hf:FOLDER` wrote, or another of which `forward`
            takes tokens (1, length) and their position, (1,) or (length,), and gives logits.

    Attributes:
        path: as given.
        metadata: what the program says of itself.

    Raises:
        InputError: the file is no program, or no generator.
        RuntimeUnavailable: the runtime cannot be built or loaded.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        methods = read_program(self.path)
        refuse_foreign(self.path, methods)
        forward = next((m for m in methods if m.name == "forward"), None)
        names = {method.name for method in methods}
        if forward is None or len(forward.inputs) != 2 or "get_vocab_size" not in names:
            raise InputError(
                f"{path} is no generator; accepted: a program of mlx-coverage export hf:FOLDER, "
                "whose method forward takes tokens and their position"
            )
        self._methods = load_methods(self.path)
        self.metadata = self._read_metadata(forward.inputs[0].shape[1])
        self._every_position = len(forward.inputs[1].shape) == 1 and forward.inputs[1].shape[0] > 1

    def open_session(self) -> "Session":
        """A conversation at its beginning; its state is its own, the weights are shared."""
        return Session(self, runtime.Session())

    def load_session(self, path: str | Path) -> "Session":
        """The conversation in a file that `Session.save` wrote.

        Raises:
            InputError: the file is none, or another program's.
        """
        path = Path(path)
        note = _read_note(path)
        if note["program"] != fingerprint(self.path):
            raise InputError(
                f"{path} is a session of another program than {self.path}; load it into the one "
                "that it was saved from"
            )
        state = runtime.Session()
        try:
            state.load(path)
        except runtime.SessionError as error:
            raise InputError(f"{path} is damaged ({error}); save the session again") from error
        session = Session(self, state)
        session.tokens = note["tokens"]
        return session

    def call(self, tokens: Sequence[int], position: int) -> Tensor:
        """Logits (vocabulary,) of the token after `tokens`, in the session in use.

        Args:
            tokens: as many as one call of a method takes.
            position: of the first of them.

        Raises:
            CallError: the call failed.
        """
        name = self.choose_method(len(tokens))
        count = len(tokens) if self._every_position else 1
        inputs = [torch.tensor([tokens]), torch.arange(position, position + count)]
        try:
            (logits,) = self._methods[name].call(inputs)
        except RuntimeError as error:
            raise CallError(f"the call failed: {runtime.last_error() or error}") from error
        found: Tensor = logits[0, -1].clone()
        return found

    def choose_method(self, length: int) -> str:
        """The method that takes so many tokens in one call."""
        chunk = self.metadata.prefill_chunk_size
        return "prefill" if "prefill" in self._methods and length == chunk > 1 else "forward"

    def choose_length(self, waiting: int) -> int:
        """How many of the tokens that wait go into the next call."""
        chunk = self.metadata.prefill_chunk_size
        if "prefill" in self._methods and waiting >= chunk:
            return chunk
        return min(waiting, self.metadata.max_seq_len)

    def _read_metadata(self, longest: int) -> Metadata:
        def read(*names: str) -> list[int]:
            for name in names:
                if name in self._methods:
                    return [int(value) for value in self._methods[name].call([])]
            return []

        def first(names: Sequence[str], default: int) -> int:
            return next(iter(read(*names)), default)

        context = first(["get_max_context_len", "get_max_ctx_len", "get_max_seq_len"], longest)
        return Metadata(
            vocab_size=read("get_vocab_size")[0],
            max_context_len=context,
            max_seq_len=min(longest, first(["get_max_seq_len"], longest)),
            prefill_chunk_size=first(["get_prefill_chunk_size"], 0),
            max_rewind_len=first(["get_max_rewind_len"], 0),
            bos_id=next(iter(read("get_bos_id")), None),
            eos_ids=tuple(read("get_eos_ids")),
        )


class Session:
    """A conversation: the tokens so far, and the program's state after them.

    Attributes:
        program: what computes it.
        tokens: all that were read or generated, in order.
        logits: (vocabulary,), of the token after them; None before the first.
    """

    def __init__(self, program: Program, state: runtime.Session) -> None:
        self.program = program
        self.tokens: list[int] = []
        self.logits: Tensor | None = None
        self._state = state

    @property
    def position(self) -> int:
        """How many tokens there are."""
        return len(self.tokens)

    def extend(self, tokens: Sequence[int]) -> Tensor:
        """Read tokens; returns the logits (vocabulary,) of the token after them.

        Raises:
            InputError: there is none, one is not in the vocabulary, or they do not fit into the
                context. The conversation is as it was.
            CallError: a call failed; the session is reset.
        """
        self._check(tokens)
        rest = list(tokens)
        with self._state:
            while rest:
                count = self.program.choose_length(len(rest))
                try:
                    self.logits = self.program.call(rest[:count], self.position)
                except CallError:
                    self.reset()
                    raise
                self.tokens += rest[:count]
                rest = rest[count:]
        assert self.logits is not None
        return self.logits

    def _check(self, tokens: Sequence[int]) -> None:
        limits = self.program.metadata
        if not tokens:
            raise InputError("there is no token to read; accepted: one or more")
        if wrong := [token for token in tokens if not 0 <= token < limits.vocab_size]:
            raise InputError(
                f"the token {wrong[0]} is not in the vocabulary; accepted: 0 to "
                f"{limits.vocab_size - 1}: take the tokenizer that belongs to the model"
            )
        left = limits.max_context_len - self.position
        if len(tokens) > left:
            raise InputError(
                f"{len(tokens)} tokens do not fit into the context of {limits.max_context_len}, of "
                f"which {left} are left; shorten the text, or export with a larger --max-context"
            )

    def reset(self) -> None:
        """Begin again."""
        self._state.reset()
        self.tokens, self.logits = [], None

    def rewind(self, position: int) -> None:
        """Go back to the state after the first `position` tokens; costs nothing.

        Of keys and values, those that are written next overwrite what is given up. A model with
        a sliding window can go back by less than a prefill chunk, one with a recurrent state not
        at all: `copy` or `save` the session before, and go on from there.

        Raises:
            InputError: the model cannot go back so far.
        """
        if not 0 <= position <= self.position:
            raise InputError(f"there is no position {position}; accepted: 0 to {self.position}")
        if position == 0:
            self.reset()
            return
        limit = self.program.metadata.max_rewind_len
        if self.position - position > limit:
            raise InputError(
                f"the model cannot go back by {self.position - position} tokens; accepted: up to "
                f"{limit}: copy the session at that position, or reset it"
            )
        if position < self.position:
            self.tokens, self.logits = self.tokens[:position], None

    def copy(self) -> "Session":
        """A conversation that goes on from here; its state is copied as it is written."""
        other = Session(self.program, self._state.copy())
        other.tokens, other.logits = list(self.tokens), self.logits
        return other

    def save(self, path: str | Path) -> None:
        """Write the conversation's tokens and state to a file, which `Program.load_session` reads.

        Raises:
            UnwritableError: the file cannot be written.
            SessionError: there is no token yet.
        """
        note = {"program": fingerprint(self.program.path), "tokens": self.tokens}
        with stage_file(Path(path)) as scratch:
            # MLX gives each safetensors file this suffix.
            written = scratch.with_name(f"{scratch.name}.safetensors")
            try:
                self._state.save(written, json.dumps(note))
                written.replace(scratch)
            finally:
                written.unlink(missing_ok=True)

    def close(self) -> None:
        """Free the state."""
        self._state.close()


def _read_note(path: Path) -> dict[str, Any]:
    """The note in the metadata of a safetensors file.

    Raises:
        InputError: it is no saved session.
    """
    try:
        with path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(size if size < _LONGEST_HEADER else 0))
        note: dict[str, Any] = json.loads(header["__metadata__"]["note"])
        return {"program": note["program"], "tokens": [int(token) for token in note["tokens"]]}
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise InputError(f"{path} is no saved session; accepted: a file of Session.save") from error
