"""How often a model expects each word: what its own text says, again each time."""

from collections.abc import Callable

import torch

from models.expectation import LEAST, expected_words
from models.language_model import LanguageModel
from models.vocabulary import Vocabulary

MakeModel = Callable[..., LanguageModel]


def _unigram(make_model: MakeModel, vocabulary: Vocabulary, probabilities: torch.Tensor) -> LanguageModel:
    """A model that expects the same words whatever it has read."""
    model = make_model("lstm", output_bias=True)
    with torch.no_grad():
        model.output.weight.zero_()  # type: ignore[operator]
        assert model.output_bias is not None
        model.output_bias.copy_(probabilities.log())
    return model


def test_a_unigram_model_expects_its_probabilities(make_model: MakeModel, vocabulary: Vocabulary) -> None:
    probabilities = torch.softmax(torch.randn(77, generator=torch.Generator().manual_seed(1)), 0)
    probabilities[vocabulary.start_id] = probabilities[vocabulary.end_id]
    probabilities /= probabilities.sum()
    found = expected_words(_unigram(make_model, vocabulary, probabilities), vocabulary)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, probabilities.double(), rtol=1e-4, atol=1e-7)


def test_words_that_never_come_weigh_next_to_nothing(make_model: MakeModel, vocabulary: Vocabulary) -> None:
    probabilities = torch.zeros(77)
    probabilities[[vocabulary.end_id, 5, 9]] = torch.tensor([0.2, 0.5, 0.3])
    found = expected_words(_unigram(make_model, vocabulary, probabilities), vocabulary)
    assert float(found.min()) == LEAST
    torch.testing.assert_close(found[[0, 5, 9]].float(), torch.tensor([0.2, 0.5, 0.3]))


def test_it_is_the_mean_over_the_models_own_text(make_model: MakeModel, vocabulary: Vocabulary) -> None:
    """Against one text at a time: after </s> it reads <s> from the start state."""
    model = make_model("lstm", layers=2)
    texts, steps = 3, 30
    got = expected_words(model, vocabulary, texts=texts, steps=steps, seed=7)
    assert torch.equal(got, expected_words(model, vocabulary, texts=texts, steps=steps, seed=7))
    random = torch.Generator().manual_seed(7)
    total = torch.zeros(77, dtype=torch.float64)
    read = [[vocabulary.start_id] for _ in range(texts)]
    endings = 0
    with torch.inference_mode():
        for _ in range(steps):
            rows = []
            for words in read:
                state = model.start_state(1)
                for word in words:
                    hidden, state = model.step(torch.tensor([word]), state)
                rows.append(torch.softmax(model.logits(model.prepare_output(hidden), slice(0, 77)), 1)[0])
            total += torch.stack(rows).sum(0, dtype=torch.float64)
            for number, word in enumerate(
                torch.multinomial(torch.stack(rows), 1, generator=random)[:, 0].tolist()
            ):
                read[number] = [*read[number], word] if word else [vocabulary.start_id]
                endings += word == vocabulary.end_id
    assert endings
    wanted = total / (texts * steps)
    wanted[vocabulary.start_id] = wanted[vocabulary.end_id]
    torch.testing.assert_close(got, wanted.clamp_min(LEAST), rtol=1e-4, atol=1e-6)
