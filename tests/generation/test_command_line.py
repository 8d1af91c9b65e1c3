"""`export hf:FOLDER` and `generate`, and what they say to bad input."""

import io
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from mlx_coverage.cli import main
from mlx_coverage.generation import Session
from mlx_coverage.generation.source import make_byte_tokenizer

SIZES = {
    "vocab_size": 256, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "initializer_range": 0.3,
}  # fmt: skip
PROMPT = "A snail"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    config = LlamaConfig(**SIZES)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    model.generation_config.eos_token_id = [2, 3]
    model.to(torch.bfloat16).save_pretrained(folder)
    make_byte_tokenizer(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def program(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "snail.pte"
    command = ["export", f"hf:{folder}", "-o", str(path), "--dtype", "float32"]
    assert main([*command, "--prefill-chunk", "4", "--verify"]) == 0
    return path


def say(capsys: pytest.CaptureFixture[str], code: int, *command: str) -> str:
    """The only line on stderr of a command that fails, and nothing on stdout."""
    capsys.readouterr()
    assert main(list(command)) == code
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    return line


def test_text_equals_transformers(
    folder: Path, program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sorted(path.name for path in program.parent.iterdir()) == [
        "snail.pte",
        "snail.tokenizer",
    ]
    capsys.readouterr()
    assert main(["generate", str(program), "--prompt", PROMPT, "--max-new-tokens", "9"]) == 0
    out, err = capsys.readouterr()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    inputs = tokenizer(PROMPT, return_tensors="pt")
    tokens = model.generate(**inputs, max_new_tokens=9, do_sample=False)[0, len(PROMPT) :]
    assert out == tokenizer.decode(tokens, skip_special_tokens=True) + "\n"
    assert err == ""


def test_statistics_go_to_stderr(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["generate", str(program), "--prompt", PROMPT, "--max-new-tokens", "3"]
    assert main([*command, "--stats", "--temperature", "0.7", "--top-k", "9", "--seed", "1"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) >= 1
    names = [line.split()[1] for line in err.splitlines() if line.startswith("mlx-coverage: ")]
    assert names == ["prefill:", "first", "decode:", "memory:"]


def test_each_line_of_stdin_is_a_turn(
    program: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    capsys.readouterr()
    monkeypatch.setattr("sys.stdin", io.StringIO("Hi\n\nWhy?\n"))
    command = ["generate", str(program), "--chat", "--max-new-tokens", "2", "--stats"]
    assert main([*command, "--ignore-eos"]) == 0
    assert "decode: 4 tokens" in capsys.readouterr().err


def test_a_program_that_computes_something_else_is_not_written(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    extend = Session.extend
    monkeypatch.setattr(Session, "extend", lambda *given: extend(*given) * 1.01)
    command = ("export", f"hf:{folder}", "-o", str(tmp_path / "model.pte"), "--verify")
    assert main([*command, "--dtype", "float32"]) == 4
    assert "forward, output 0 differs from eager torch by 0.01" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_check_plans_a_folder_without_weights(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copyfile(folder / "config.json", tmp_path / "config.json")
    report = tmp_path / "report.json"
    assert main(["check", f"hf:{tmp_path}", "--json", str(report), "--fail-under", "100"]) == 0
    methods = json.loads(report.read_text())["methods"]
    assert [method["name"] for method in methods] == ["forward"]
    assert "100 %" in capsys.readouterr().out


def test_a_failed_export_leaves_what_was_there(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.pte"
    assert main(["export", f"hf:{folder}", "-o", str(path), "--max-context", "65"]) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("config.json", "has no config.json"),
        ("model.safetensors", "has no weights; accepted: *.safetensors or *.bin"),
        ("tokenizer.json", "has no tokenizer; accepted: tokenizer.json"),
    ],
)
def test_folders_that_lack_a_part(
    folder: Path, tmp_path: Path, missing: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    (copy / missing).unlink()
    command = ("export", f"hf:{copy}", "-o", str(tmp_path / "model.pte"))
    assert sentence in say(capsys, 2, *command)
    assert list(tmp_path.iterdir()) == [copy]


def test_weights_that_do_not_fit(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    weights = load_file(copy / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    command = ("export", f"hf:{copy}", "-o", str(tmp_path / "model.pte"))
    assert "lacks 1 of the model's weights, such as model.norm.weight" in say(capsys, 2, *command)
    (copy / "model.safetensors").write_bytes(b"no tensors")
    assert "has weights that transformers does not load" in say(capsys, 2, *command)
    (copy / "config.json").write_text("{")
    assert "is no configuration that transformers reads" in say(capsys, 2, *command)


CASES = [
    (("export", "hf:nowhere"), "nowhere: there is no such folder; accepted: hf:FOLDER"),
    (("export", "hf:owner/name"), "owner/name is no folder, and the model hub does not give it"),
    (("export", "hf:{program}"), "snail.pte is a file; accepted: hf:FOLDER"),
    (("export", "hf:{folder}", "--max-context", "65"), "65 is more than the 64 positions"),
    (("export", "hf:{folder}", "--prefill-chunk", "65"), "65 is more than the context of 64"),
    (("export", "hf:{bert}"), "holds a Bert model, which generates no text"),
    (
        ("export", "zoo:bert-base@small", "--dtype", "float16"),
        "--dtype is for models that generate",
    ),
    (("export", "zoo:nothing"), "there is no preset 'zoo:nothing'"),
    (("generate", "{program}"), "there is no prompt; add --prompt TEXT, or --chat"),
    (("generate", "missing.pte", "--prompt", "A"), "missing.pte: there is no such file"),
    (("generate", "{program}", "--prompt", "A" * 65), "has 65 tokens and the context 64"),
    (("generate", "{program}", "--prompt", "A", "--tokenizer", "{empty}"), "has no tokenizer that"),
    (("generate", "{program}", "--prompt", "A", "--top-p", "2"), "top-p is 2.0; accepted"),
    (("generate", "{program}", "--chat", "--chat-template", "no"), "no is no chat template"),
    (
        ("generate", "{program}", "--chat", "--prompt", "A", "--chat-template", "{template}"),
        "the chat template does not take these messages",
    ),
]


@pytest.mark.parametrize(("command", "sentence"), CASES)
def test_bad_input(
    command: tuple[str, ...], sentence: str, folder: Path, program: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    empty, bert, template = (tmp_path / name for name in ("empty", "bert", "template.jinja"))
    empty.mkdir()
    bert.mkdir()
    (bert / "config.json").write_text('{"model_type": "bert", "architectures": ["BertModel"]}')
    (bert / "model.safetensors").touch()
    (bert / "vocab.txt").touch()
    template.write_text("{% for")
    places = {"folder": folder, "program": program, "bert": bert, "template": template}
    places["empty"] = empty
    words = [word.format(**places) for word in command]
    if words[0] == "export":
        words += ["-o", "model.pte"]
    assert sentence in say(capsys, 2, *words)
    assert not Path("model.pte").exists()
