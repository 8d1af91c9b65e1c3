"""Prompts to text: streaming, chat, sampling, stop conditions, and ExecuTorch's own runner."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mlx_coverage import runtime
from mlx_coverage.analyze.failures import InputError
from mlx_coverage.generation import Program, Request, Sampling, TextGenerator
from mlx_coverage.generation.export import find_tokenizer_folder
from mlx_coverage.generation.text_generator import Sampler
from tests.generation.conftest import Open
from tests.generation.families import CONTEXT, Case

PROMPT = "The snail is on the hill"


@pytest.fixture(scope="module")
def case(open_case: Open) -> Case:
    case = open_case("llama", torch.float32)
    assert case.lowering.program is not None
    return case


@pytest.fixture
def generator(case: Case) -> TextGenerator:
    return TextGenerator(case.program)


def write(generator: TextGenerator, prompt: str = PROMPT, count: int = 24, **request: Any) -> str:
    asked = Request(max_new_tokens=count, ignore_eos=True, **request)
    return "".join(generator.generate(prompt, asked))


def test_text_equals_transformers(case: Case, generator: TextGenerator) -> None:
    model, tokenizer = case.make_model(torch.float32), generator.tokenizer
    inputs = tokenizer(PROMPT, return_tensors="pt")
    tokens = model.generate(**inputs, max_new_tokens=24, do_sample=False, eos_token_id=None)[0]
    expected = tokenizer.decode(tokens[inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert write(generator) == expected


def test_pieces_are_whole_characters(generator: TextGenerator) -> None:
    text = "snail: \N{SNAIL}, water: \N{CJK UNIFIED IDEOGRAPH-6C34}"
    tokens = generator.tokenizer(text)["input_ids"]

    class Echo:
        """Chooses the tokens of the text, whatever the logits."""

        def __init__(self, sampling: Sampling) -> None:
            self.left = list(tokens)

        def choose(self, logits: torch.Tensor) -> int:
            return self.left.pop(0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlx_coverage.generation.text_generator.Sampler", Echo)
        pieces = list(generator.generate("a", Request(max_new_tokens=len(tokens))))
        assert pieces == list(text)
        stopped = Request(max_new_tokens=len(tokens), stop=("water", ", w"))
        assert "".join(generator.generate("a", stopped)) == text.partition(", w")[0]
        assert "".join(generator.generate("a", Request(max_new_tokens=8))) == "snail: \ufffd"


def test_a_token_that_ends_texts_ends_the_text(generator: TextGenerator) -> None:
    end = generator.program.metadata.eos_ids[0]
    text, session = write(generator), generator.session
    session.reset()
    logits = session.extend(generator.tokenizer(PROMPT)["input_ids"])
    logits[end] = logits.max() + 1
    tokens = session.tokens

    class Ends:
        def __init__(self, sampling: Sampling) -> None:
            self.count = 0

        def choose(self, logits: torch.Tensor) -> int:
            self.count += 1
            return end if self.count == 4 else int(logits.argmax())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlx_coverage.generation.text_generator.Sampler", Ends)
        found = "".join(generator.generate(PROMPT))
    assert text.startswith(found)
    assert generator.session.position == len(tokens) + 3


def test_sampling_is_reproducible_and_bounded(generator: TextGenerator) -> None:
    def sample(seed: int) -> str:
        return write(generator, sampling=Sampling(1.0, 20, 0.9, seed))

    assert sample(1) == sample(1) != sample(2)
    assert write(generator, sampling=Sampling(1.0, top_k=1)) == write(generator)
    logits = torch.tensor([0.1, 3.0, 2.9, 0.2])
    for sampling in (Sampling(1.0, top_k=2, seed=0), Sampling(1.0, top_p=0.9, seed=0)):
        sampler = Sampler(sampling)
        assert {sampler.choose(logits) for _ in range(40)} == {1, 2}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [((-1.0,), "temperature is -1"), ((1.0, -1), "top-k is -1"), ((1.0, 0, 0.0), "top-p is 0.0")],
)
def test_sampling_that_means_nothing(values: tuple[Any, ...], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        Sampling(*values)


def test_a_conversation_reads_each_token_once(generator: TextGenerator) -> None:
    request = Request(max_new_tokens=6, ignore_eos=True)
    messages = [{"role": "user", "content": "Who?"}]
    answer = "".join(generator.chat(messages, request))
    read = generator.stats.prompt_tokens
    messages += [{"role": "assistant", "content": answer}, {"role": "user", "content": "Why?"}]
    second = "".join(generator.chat(messages, request))
    rendered = generator.tokenizer.apply_chat_template(messages, add_generation_prompt=True)
    whole = len(rendered["input_ids"])
    assert generator.stats.prompt_tokens < read + whole - read // 2
    # The same as if it were read at once.
    assert "".join(TextGenerator(generator.program).chat(messages, request)) == second


def test_chat_needs_a_template(generator: TextGenerator) -> None:
    generator.tokenizer.chat_template = None
    with pytest.raises(InputError, match="has no chat template"):
        list(generator.chat([{"role": "user", "content": "?"}]))
    generator.tokenizer.chat_template = "{{ raise_exception('no such role') }}"
    with pytest.raises(InputError, match=r"does not take these messages: .*no such role"):
        list(generator.chat([{"role": "user", "content": "?"}]))


def test_the_context_ends_the_text(generator: TextGenerator) -> None:
    assert write(generator, count=CONTEXT) == write(generator, count=10 * CONTEXT)
    assert generator.session.position == CONTEXT
    with pytest.raises(InputError, match=f"{CONTEXT + 1} tokens and the context {CONTEXT}"):
        write(generator, "x" * (CONTEXT + 1))


def test_statistics_count_tokens(generator: TextGenerator) -> None:
    write(generator, count=10)
    stats = generator.stats
    assert (stats.prompt_tokens, stats.new_tokens) == (len(PROMPT), 10)
    assert 0 < stats.prompt_seconds <= stats.first_token_seconds
    assert any("decode: 10 tokens" in line for line in stats.describe())


def test_executorchs_own_runner_gives_the_same_text(
    case: Case, generator: TextGenerator, tmp_path: Path
) -> None:
    from executorch.extension.llm.runner import GenerationConfig, TextLLMRunner

    runtime.load()
    # Its binding takes pieces of UTF-8 only, which random tokens are not: let each be a number.
    described = json.loads((find_tokenizer_folder(case.path) / "tokenizer.json").read_text())
    vocabulary = described["model"]["vocab"]
    described["model"]["vocab"] = {
        text if text.isascii() and text.isalpha() else f"<{number}>": number
        for text, number in vocabulary.items()
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(described))
    names = {number: text for text, number in described["model"]["vocab"].items()}
    prompt = "Thesnailisonthehill"
    list(generator.generate(prompt, Request(24)))
    expected = "".join(names[token] for token in generator.session.tokens[len(prompt) :])
    runner = TextLLMRunner(str(case.path), str(tmp_path / "tokenizer.json"))
    config = GenerationConfig(echo=False, max_new_tokens=24, temperature=0.0)
    for _ in range(2):
        pieces: list[str] = []
        runner.generate(prompt, config, pieces.append)
        assert "".join(pieces).startswith(expected)
        runner.reset()


def test_a_folder_without_a_tokenizer(case: Case, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no tokenizer that transformers reads.*--tokenizer"):
        TextGenerator(case.program, tmp_path)


def test_programs_that_generate_nothing(tmp_path: Path) -> None:
    from mlx_coverage.lowering.payload import serialize
    from tests.runtime.programs import softmax_program, values_of
    from tests.runtime.pte import Method, build_pte

    program = softmax_program()
    path = tmp_path / "model.pte"
    path.write_bytes(build_pte(Method(serialize(program), *values_of(program, (2, 4)))))
    with pytest.raises(InputError, match="is no generator; accepted: a program of mlx-coverage"):
        Program(path)
