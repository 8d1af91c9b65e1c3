"""From a prompt to text: tokenizer, chat template, sampling, stop conditions, statistics."""

import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mlx_coverage.analyze.failures import InputError, condense
from mlx_coverage.generation.export import find_tokenizer_folder
from mlx_coverage.generation.program import Program, Session

Message = dict[str, str]


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen from the logits.

    Attributes:
        temperature: by which they are divided; 0 takes the most likely token.
        top_k: how many of the most likely tokens are left; 0 for all.
        top_p: least probability of the tokens that are left, the most likely first; 1 for all.
        seed: of the random numbers; None for another one each time.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise InputError(f"the temperature is {self.temperature}; accepted: 0 or more")
        if self.top_k < 0:
            raise InputError(f"top-k is {self.top_k}; accepted: 0 or more")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top-p is {self.top_p}; accepted: more than 0, up to 1")


class Sampler:
    """Chooses tokens one after another."""

    def __init__(self, sampling: Sampling) -> None:
        from transformers import (
            LogitsProcessorList,
            TemperatureLogitsWarper,
            TopKLogitsWarper,
            TopPLogitsWarper,
        )

        self.sampling = sampling
        self._generator = torch.Generator()
        if sampling.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(sampling.seed)
        self._warpers = LogitsProcessorList()
        if sampling.temperature not in (0, 1):
            self._warpers.append(TemperatureLogitsWarper(float(sampling.temperature)))
        if sampling.top_k:
            self._warpers.append(TopKLogitsWarper(sampling.top_k))
        if sampling.top_p < 1:
            self._warpers.append(TopPLogitsWarper(sampling.top_p))

    def choose(self, logits: Tensor) -> int:
        """A token for the logits (vocabulary,)."""
        if self.sampling.temperature == 0:
            return int(logits.argmax())
        scores = self._warpers(torch.zeros(1, 0, dtype=torch.int64), logits[None].float())
        chances = torch.softmax(scores[0], dim=-1)
        return int(torch.multinomial(chances, 1, generator=self._generator))


@dataclass
class Stats:
    """What generating took; added up over the turns of a conversation.

    Attributes:
        prompt_tokens: that were read; those of earlier turns are not read again.
        prompt_seconds: reading them, up to the logits of the first new token.
        first_token_seconds: from the call to the first new token.
        new_tokens: that were generated.
        decode_seconds: for all of them but the first.
    """

    prompt_tokens: int = 0
    prompt_seconds: float = 0.0
    first_token_seconds: float = 0.0
    new_tokens: int = 0
    decode_seconds: float = 0.0

    def describe(self) -> list[str]:
        """Lines for the user."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        size = peak * (1 if sys.platform == "darwin" else 1024)
        return [
            f"prefill: {self.prompt_tokens} tokens, "
            f"{_rate(self.prompt_tokens, self.prompt_seconds)}",
            f"first token: {1000 * self.first_token_seconds:.1f} ms",
            f"decode: {self.new_tokens} tokens, {_rate(self.new_tokens - 1, self.decode_seconds)}",
            f"memory: {size / 1e9:.2f} GB at most",
        ]


def _rate(count: int, seconds: float) -> str:
    return f"{count / seconds:.1f} tokens/s" if count > 0 and seconds > 0 else "no rate"


@dataclass(frozen=True)
class Request:
    """What is to be generated, beside the prompt.

    Attributes:
        max_new_tokens: at most; None for as many as the context has left.
        sampling: how tokens are chosen.
        stop: texts before which the output ends.
        ignore_eos: whether to go on after a token that ends a text.
    """

    max_new_tokens: int | None = None
    sampling: Sampling = field(default_factory=Sampling)
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False


class TextGenerator:
    """A program with its tokenizer, in one conversation.

    Args:
        program: a generator, or the path of its file.
        tokenizer: a folder that transformers reads one from, or a tokenizer of transformers;
            by default the folder beside the program that the export wrote.
        session: to go on with; a new one by default.

    Attributes:
        stats: of all calls so far.

    Raises:
        InputError: the program is no generator, or there is no tokenizer.
    """

    def __init__(
        self,
        program: Program | str | Path,
        tokenizer: Any = None,
        session: Session | None = None,
    ) -> None:
        self.program = program if isinstance(program, Program) else Program(program)
        self.tokenizer = _open_tokenizer(tokenizer, self.program.path)
        self.session = session or self.program.open_session()
        self.stats = Stats()

    def generate(self, prompt: str, request: Request | None = None) -> Iterator[str]:
        """The text that follows the prompt, piece by piece, in a conversation begun anew.

        Raises:
            InputError: the prompt does not fit into the context.
        """
        yield from self.continue_from(self._encode(prompt), request)

    def chat(self, messages: Sequence[Message], request: Request | None = None) -> Iterator[str]:
        """The assistant's answer to messages, each a dict with role and content, piece by piece.

        What the session has read of them already is not read again.

        Raises:
            InputError: the tokenizer has no chat template, or it refuses the messages; or they do
                not fit into the context.
        """
        if not getattr(self.tokenizer, "chat_template", None):
            raise InputError(
                "the tokenizer has no chat template; give one (a Jinja file), or a prompt without "
                "chat"
            )
        try:
            tokens = self.tokenizer.apply_chat_template(
                list(messages), add_generation_prompt=True, return_dict=True
            )["input_ids"]
        except Exception as error:
            raise InputError(
                f"the chat template does not take these messages: {condense(error)}"
            ) from error
        yield from self.continue_from(tokens, request)

    def continue_from(self, tokens: list[int], request: Request | None = None) -> Iterator[str]:
        """The text that follows tokens: the session goes back to what it has in common with them.

        Raises:
            InputError: they do not fit into the context.
        """
        request = request or Request()
        limit = self.program.metadata.max_context_len
        if len(tokens) > limit:
            raise InputError(
                f"the prompt has {len(tokens)} tokens and the context {limit}; shorten it, or "
                "export with a larger --max-context"
            )
        start = time.perf_counter()
        logits = self._read(tokens)
        self.stats.prompt_seconds += time.perf_counter() - start
        count = min(limit - len(tokens) + 1, request.max_new_tokens or limit)
        yield from self._decode(logits, count, request, start)

    def _read(self, tokens: list[int]) -> Tensor:
        session = self.session
        common = 0
        for old, new in zip(session.tokens, tokens[:-1], strict=False):
            if old != new:
                break
            common += 1
        try:
            session.rewind(common)
        except InputError:
            session.reset()
        rest = tokens[session.position :]
        self.stats.prompt_tokens += len(rest)
        return session.extend(rest)

    def _decode(self, logits: Tensor, count: int, request: Request, start: float) -> Iterator[str]:
        sampler, text = Sampler(request.sampling), _Text(self.tokenizer, request.stop)
        ends = () if request.ignore_eos else self.program.metadata.eos_ids
        begun = start
        for number in range(count):
            token = sampler.choose(logits)
            now = time.perf_counter()
            if number == 0:
                self.stats.first_token_seconds, begun = now - start, now
            self.stats.new_tokens += 1
            if token not in ends:
                yield from text.add(token)
            if token in ends or text.is_over or number == count - 1:
                break
            logits = self.session.extend([token])
        self.stats.decode_seconds += time.perf_counter() - begun
        yield from text.finish()

    def _encode(self, prompt: str) -> list[int]:
        tokens: list[int] = list(self.tokenizer(prompt)["input_ids"])
        if not tokens and self.program.metadata.bos_id is not None:
            tokens = [self.program.metadata.bos_id]
        return tokens


class _Text:
    """Tokens as text, of which what may be part of a character or a stop text is held back."""

    def __init__(self, tokenizer: Any, stop: tuple[str, ...]) -> None:
        self._tokenizer = tokenizer
        self._stop = stop
        self._tokens: list[int] = []
        # Tokens up to `_read` are in the text; those from `_context` on decide what follows them.
        self._context = self._read = 0
        self._text = ""
        self._given = 0
        self.is_over = False

    def add(self, token: int) -> Iterator[str]:
        self._tokens.append(token)
        piece = self._decode_rest()
        if not piece or piece.endswith("\ufffd"):
            return
        self._text += piece
        self._context, self._read = self._read, len(self._tokens)
        ends = [at for text in self._stop if (at := self._text.find(text)) >= 0]
        self.is_over = bool(ends)
        yield from self._give(min(ends) if ends else len(self._text) - self._count_held())

    def finish(self) -> Iterator[str]:
        if not self.is_over:
            self._text += self._decode_rest()
            yield from self._give(len(self._text))

    def _decode_rest(self) -> str:
        def decode(tokens: list[int]) -> str:
            text: str = self._tokenizer.decode(tokens, skip_special_tokens=True)
            return text

        known = decode(self._tokens[self._context : self._read])
        return decode(self._tokens[self._context :])[len(known) :]

    def _count_held(self) -> int:
        """Characters at the end that may begin a stop text."""
        begun = (
            n for text in self._stop for n in range(1, len(text)) if self._text.endswith(text[:n])
        )
        return max(begun, default=0)

    def _give(self, end: int) -> Iterator[str]:
        if end > self._given:
            yield self._text[self._given : end]
            self._given = end


def _open_tokenizer(given: Any, program: Path) -> Any:
    if given is not None and not isinstance(given, (str, Path)):
        return given
    folder = Path(given) if given is not None else find_tokenizer_folder(program)
    if given is None and not folder.is_dir():
        folder = program.parent
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        raise InputError(
            f"{folder} has no tokenizer that transformers reads; name the folder of the model that "
            f"{program} was exported from with --tokenizer"
        ) from error
