"""The table of formats: name, look, reader, writer. Told from a file's first line in this order."""

from collections.abc import Callable, Iterator
from pathlib import Path

from nbest.errors import FormatError
from rescoring.formats.base import (
    WHOLE,
    AnyPath,
    Format,
    Lines,
    OneBest,
    Options,
    Piece,
    file_writer,
    named_lines,
    of_lines,
)
from rescoring.formats.espnet import (
    ESPNET_NAMES,
    EspnetRecord,
    espnet_blocks,
    espnet_files,
    is_espnet_directory,
    open_espnet,
)
from rescoring.formats.fairseq import FairseqRecord, begins_fairseq, fairseq_blocks, fairseq_lines
from rescoring.formats.jsonl import JsonRecord, best_object, jsonl_blocks, jsonl_lines, read_jsonl
from rescoring.formats.kaldi import KaldiRecord, best_of_utterance, is_kaldi_directory, kaldi_blocks
from rescoring.formats.kaldi_write import KALDI_NAMES, complete_archives, kaldi_files, open_kaldi
from rescoring.formats.mlm_scoring import MLM_FRAME, MlmRecord, mlm_blocks, mlm_piece
from rescoring.formats.moses import MosesRecord, moses_blocks, read_moses
from rescoring.formats.moses_write import moses_lines
from rescoring.formats.nemo import NemoLines, NemoRecord, begins_nemo, nemo_blocks
from rescoring.formats.notes import Notes
from rescoring.formats.srilm import SrilmRecord, srilm_blocks
from rescoring.formats.srilm_files import is_list_directory
from rescoring.formats.srilm_lines import kind_of
from rescoring.formats.srilm_write import open_srilm, srilm_files
from rescoring.nbest import NbestLists


def _whole(blocks: Callable[[Notes], Iterator[NbestLists]], source: str, what: str) -> NbestLists:
    notes = Notes(source)
    for lists in blocks(notes):
        notes.log()
        return lists
    raise FormatError("no n-best list in it", where=source, expected=what, got="no lines")


def _moses(path: AnyPath, options: Options, size: int, notes: Notes) -> Iterator[NbestLists]:
    lines, source = named_lines(path, options)
    return moses_blocks(lines, source, size, notes, keep_total=options.keep_total, aside=options.aside)


def _parse_moses(lines: Lines, source: str, options: Options) -> NbestLists:
    return read_moses(lines, source, keep_total=options.keep_total, aside=options.aside)


def _kaldi(path: AnyPath, options: Options, size: int, _notes: Notes) -> Iterator[NbestLists]:
    return kaldi_blocks(path, size, columns=options.columns, words_txt=options.words_txt, aside=options.aside)


def _jsonl(path: AnyPath, options: Options, size: int, notes: Notes) -> Iterator[NbestLists]:
    return jsonl_blocks(*named_lines(path, options), size, notes, options.aside)


def _parse_jsonl(lines: Lines, source: str, options: Options) -> NbestLists:
    return read_jsonl(lines, source, options.aside)


def _begins_jsonl(line: str) -> bool:
    return line.lstrip(" \t").startswith("{") and not _begins_mlm(line)


def _begins_mlm(line: str) -> bool:
    text = line.strip(" \t\r")
    return text == "{" or (text.startswith("{") and '"hyp_' in text and '"hypotheses"' not in text)


def _srilm(path: AnyPath, options: Options, size: int, notes: Notes) -> Iterator[NbestLists]:
    return srilm_blocks(path, size, notes, options.aside)


def _begins_srilm(line: str) -> bool:
    return kind_of(line) is not None or _is_file(line.strip(" "))


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except OSError:  # too long for a name
        return False


def _espnet(path: AnyPath, options: Options, size: int, notes: Notes) -> Iterator[NbestLists]:
    return espnet_blocks(path, size, notes, options.aside)


def _nemo(path: AnyPath, options: Options, size: int, notes: Notes) -> Iterator[NbestLists]:
    return nemo_blocks(*named_lines(path, options), options.beam_size, size, notes, options.aside)


def _parse_nemo(lines: Lines, source: str, options: Options) -> NbestLists:
    return _whole(lambda notes: nemo_blocks(lines, source, options.beam_size, WHOLE, notes), source, NEMO)


def _fairseq(path: AnyPath, options: Options, size: int, notes: Notes) -> Iterator[NbestLists]:
    return fairseq_blocks(*named_lines(path, options), size, notes, aside=options.aside)


def _parse_fairseq(lines: Lines, source: str, options: Options) -> NbestLists:
    def blocks(notes: Notes) -> Iterator[NbestLists]:
        return fairseq_blocks(lines, source, WHOLE, notes, anyhow=True, aside=options.aside)

    return _whole(blocks, source, FAIRSEQ)


def _nemo_piece(first: int) -> Piece:
    return of_lines(NemoLines(first))


def _by_number(_id: str, text: str) -> str:
    return text


NEMO = "text TAB score"
FAIRSEQ = "H-number TAB score TAB text"
NUMBERED = OneBest(_by_number, numbered=True)
BY_UTTERANCE = OneBest(best_of_utterance)
_moses_piece = of_lines(moses_lines)
_jsonl_piece = of_lines(jsonl_lines)
_fairseq_piece = of_lines(fairseq_lines)

FORMATS: dict[str, Format] = {
    one.name: one
    for one in (
        Format(
            "moses",
            "id ||| text ||| features ||| total",
            MosesRecord,
            frozenset({"keep_total"}),
            blocks=_moses,
            open=file_writer(lambda _: _moses_piece),
            one_best=NUMBERED,
            piece=lambda _: _moses_piece,
            parse=_parse_moses,
            begins=lambda line: "|||" in line,
        ),
        Format(
            "kaldi",
            "a directory with num_jobs, archives.1, ...",
            KaldiRecord,
            frozenset({"columns", "words_txt"}),
            blocks=_kaldi,
            open=open_kaldi,
            one_best=BY_UTTERANCE,
            files=kaldi_files,
            complete=complete_archives,
            claims=is_kaldi_directory,
            replaces=KALDI_NAMES,
        ),
        Format(
            "jsonl",
            "one JSON object a list",
            JsonRecord,
            frozenset(),
            blocks=_jsonl,
            open=file_writer(lambda _: _jsonl_piece),
            one_best=OneBest(best_object),
            piece=lambda _: _jsonl_piece,
            parse=_parse_jsonl,
            begins=_begins_jsonl,
        ),
        Format(
            "mlm",
            "ESPnet's and mlm-scoring's JSON: utterances with hyp_1, hyp_2, ...",
            MlmRecord,
            frozenset(),
            blocks=mlm_blocks,
            open=file_writer(lambda _: mlm_piece, MLM_FRAME),
            one_best=BY_UTTERANCE,
            piece=lambda _: mlm_piece,
            frame=MLM_FRAME,
            begins=_begins_mlm,
        ),
        Format(
            "espnet",
            "a directory with output.1/1best_recog, ...",
            EspnetRecord,
            frozenset(),
            blocks=_espnet,
            open=open_espnet,
            one_best=BY_UTTERANCE,
            files=espnet_files,
            claims=is_espnet_directory,
            replaces=ESPNET_NAMES,
        ),
        Format(
            "srilm",
            "SRILM's n-best files: one, a list of them, or their directory",
            SrilmRecord,
            frozenset(),
            blocks=_srilm,
            open=open_srilm,
            one_best=BY_UTTERANCE,
            files=srilm_files,
            begins=_begins_srilm,
            claims=is_list_directory,
        ),
        Format(
            "fairseq",
            FAIRSEQ,
            FairseqRecord,
            frozenset(),
            blocks=_fairseq,
            open=file_writer(lambda _: _fairseq_piece),
            one_best=NUMBERED,
            piece=lambda _: _fairseq_piece,
            parse=_parse_fairseq,
            begins=begins_fairseq,
        ),
        Format(
            "nemo",
            NEMO,
            NemoRecord,
            frozenset({"beam_size"}),
            blocks=_nemo,
            open=file_writer(_nemo_piece),
            one_best=NUMBERED,
            piece=_nemo_piece,
            parse=_parse_nemo,
            begins=begins_nemo,
        ),
    )
}
