"""The callback in real trainers, offline: TRL's GRPOTrainer on a model of two layers, and a plain Trainer."""

import socket

import pytest

import fits
from fits.trajectories import trajectory
from scaling.errors import InputError

WORDS = 24


@pytest.fixture
def offline(monkeypatch):
    def refuse(*args):
        raise OSError("this test reaches no network")

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(socket.socket, "connect", refuse)


def model():
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=WORDS, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
            max_position_embeddings=24, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        )
    )  # fmt: skip


def test_it_prints_the_forecast_while_trl_trains(offline, tmp_path):
    pytest.importorskip("trl")
    from datasets import Dataset
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast
    from trl import GRPOConfig, GRPOTrainer

    words = {f"t{i}": i for i in range(WORDS)}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="t0")), eos_token="t2", pad_token="t0"
    )
    shown: list[str] = []
    watcher = fits.callback(every=6, first=10, show=shown.append, particles=256)
    trainer = GRPOTrainer(
        model(),
        reward_funcs=lambda completions, **_: [float(len(c) % 4) / 3 for c in completions],
        args=GRPOConfig(
            str(tmp_path), per_device_train_batch_size=4, num_generations=4, max_completion_length=3, max_steps=18,
            logging_steps=1, use_cpu=True, bf16=False, report_to=[], save_strategy="no", disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list([{"prompt": "t1"}] * 8),
        processing_class=tokenizer,
        callbacks=[watcher],
    )  # fmt: skip
    trainer.train()
    assert [f.at for f in watcher.forecasts] == [10, 16] and {f.end for f in watcher.forecasts} == {18}
    lines = [line for line in shown if line.startswith("step ")]
    assert lines[0].startswith("step 10 of 18: reward ") and "gain still to come" in lines[0] and len(lines) == 2
    assert len(trajectory(trainer.state.log_history)) == 18


class Numbers:
    """Rows of a causal model's training set."""

    def __len__(self):
        return 64

    def __getitem__(self, i):
        import torch

        ids = torch.tensor([1 + i % 7, 3, 5, 2])
        return {"input_ids": ids, "labels": ids}


def test_a_metric_of_ones_own_in_a_plain_trainer_and_a_range_that_it_leaves(offline, tmp_path):
    """The loss is no metric in 0 .. 1: that is said once, and training goes on to its end."""
    pytest.importorskip("transformers")
    from transformers import Trainer, TrainingArguments

    shown: list[str] = []
    narrow = fits.callback("loss", every=1, first=3, show=shown.append)
    wide = fits.callback("loss", every=5, first=5, show=lambda text: None, low=0.0, high=10.0, particles=256)
    trainer = Trainer(
        model(),
        TrainingArguments(
            str(tmp_path), max_steps=12, logging_steps=1, per_device_train_batch_size=4, use_cpu=True, report_to=[],
            save_strategy="steps", save_steps=12, disable_tqdm=True,
        ),
        train_dataset=Numbers(),
        callbacks=[narrow, wide],
    )  # fmt: skip
    trainer.train()
    assert trainer.state.global_step == 12 and narrow.forecasts == []
    assert len([text for text in shown if "outside 0 .. 1" in text]) == 1
    assert [f.at for f in wide.forecasts] == [5, 10]
    saved = fits.watch(tmp_path, metric="loss", high=10.0, particles=256)
    assert (saved.at, saved.end) == (12, 12)


def test_numbers_of_rows_are_checked_before_anything_heavy_is_loaded():
    with pytest.raises(InputError, match="1 or more"):
        fits.callback(every=0)
