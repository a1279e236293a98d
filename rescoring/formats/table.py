"""The table of formats: name, look, reader, writer. Told from a file's first line in this order."""

from collections.abc import Callable, Iterator
from pathlib import Path

from nbest.errors import FormatError
from rescoring.formats.base import WHOLE, AnyPath, Format, Lines, Options, line_writer, named_lines
from rescoring.formats.espnet import (
    ESPNET_NAMES,
    EspnetRecord,
    espnet_blocks,
    is_espnet_directory,
    open_espnet,
)
from rescoring.formats.fairseq import FairseqRecord, begins_fairseq, fairseq_blocks, fairseq_lines
from rescoring.formats.jsonl import JsonRecord, jsonl_blocks, jsonl_lines, jsonl_one_best, read_jsonl
from rescoring.formats.kaldi import KaldiRecord, is_kaldi_directory, kaldi_blocks, kaldi_one_best
from rescoring.formats.kaldi_write import KALDI_NAMES, open_kaldi
from rescoring.formats.mlm_scoring import MlmRecord, mlm_blocks, open_mlm
from rescoring.formats.moses import MosesRecord, moses_blocks, read_moses
from rescoring.formats.moses_write import moses_lines, moses_one_best
from rescoring.formats.nemo import NemoLines, NemoRecord, begins_nemo, nemo_blocks
from rescoring.formats.notes import Notes
from rescoring.formats.srilm import SrilmRecord, srilm_blocks
from rescoring.formats.srilm_files import is_list_directory
from rescoring.formats.srilm_lines import kind_of
from rescoring.formats.srilm_write import open_srilm
from rescoring.nbest import NbestLists


def _whole(blocks: Callable[[Notes], Iterator[NbestLists]], source: str, what: str) -> NbestLists:
    notes = Notes(source)
    for lists in blocks(notes):
        notes.log()
        return lists
    raise FormatError("no n-best list in it", where=source, expected=what, got="no lines")


def _moses(path: AnyPath, options: Options, size: int, notes: Notes) -> Iterator[NbestLists]:
    return moses_blocks(*named_lines(path, options), size, notes, keep_total=options.keep_total)


def _parse_moses(lines: Lines, source: str, options: Options) -> NbestLists:
    return read_moses(lines, source, keep_total=options.keep_total)


def _kaldi(path: AnyPath, options: Options, size: int, _notes: Notes) -> Iterator[NbestLists]:
    return kaldi_blocks(path, size, columns=options.columns, words_txt=options.words_txt)


def _jsonl(path: AnyPath, options: Options, size: int, notes: Notes) -> Iterator[NbestLists]:
    return jsonl_blocks(*named_lines(path, options), size, notes)


def _parse_jsonl(lines: Lines, source: str, _options: Options) -> NbestLists:
    return read_jsonl(lines, source)


def _begins_jsonl(line: str) -> bool:
    return line.lstrip(" \t").startswith("{") and not _begins_mlm(line)


def _begins_mlm(line: str) -> bool:
    text = line.strip(" \t\r")
    return text == "{" or (text.startswith("{") and '"hyp_' in text and '"hypotheses"' not in text)


def _srilm(path: AnyPath, _options: Options, size: int, notes: Notes) -> Iterator[NbestLists]:
    return srilm_blocks(path, size, notes)


def _begins_srilm(line: str) -> bool:
    return kind_of(line) is not None or _is_file(line.strip(" "))


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except OSError:  # too long for a name
        return False


def _espnet(path: AnyPath, _options: Options, size: int, notes: Notes) -> Iterator[NbestLists]:
    return espnet_blocks(path, size, notes)


def _nemo(path: AnyPath, options: Options, size: int, notes: Notes) -> Iterator[NbestLists]:
    return nemo_blocks(*named_lines(path, options), options.beam_size, size, notes)


def _parse_nemo(lines: Lines, source: str, options: Options) -> NbestLists:
    return _whole(lambda notes: nemo_blocks(lines, source, options.beam_size, WHOLE, notes), source, NEMO)


def _fairseq(path: AnyPath, options: Options, size: int, notes: Notes) -> Iterator[NbestLists]:
    return fairseq_blocks(*named_lines(path, options), size, notes)


def _parse_fairseq(lines: Lines, source: str, _options: Options) -> NbestLists:
    return _whole(lambda notes: fairseq_blocks(lines, source, WHOLE, notes, anyhow=True), source, FAIRSEQ)


NEMO = "text TAB score"
FAIRSEQ = "H-number TAB score TAB text"

FORMATS: dict[str, Format] = {
    one.name: one
    for one in (
        Format(
            "moses",
            "id ||| text ||| features ||| total",
            MosesRecord,
            frozenset({"keep_total"}),
            blocks=_moses,
            open=line_writer(lambda: moses_lines),
            one_best=moses_one_best,
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
            one_best=kaldi_one_best,
            claims=is_kaldi_directory,
            directory=True,
            replaces=KALDI_NAMES,
        ),
        Format(
            "jsonl",
            "one JSON object a list",
            JsonRecord,
            frozenset(),
            blocks=_jsonl,
            open=line_writer(lambda: jsonl_lines),
            one_best=jsonl_one_best,
            parse=_parse_jsonl,
            begins=_begins_jsonl,
        ),
        Format(
            "mlm",
            "ESPnet's and mlm-scoring's JSON: utterances with hyp_1, hyp_2, ...",
            MlmRecord,
            frozenset(),
            blocks=mlm_blocks,
            open=open_mlm,
            one_best=kaldi_one_best,
            begins=_begins_mlm,
        ),
        Format(
            "espnet",
            "a directory with output.1/1best_recog, ...",
            EspnetRecord,
            frozenset(),
            blocks=_espnet,
            open=open_espnet,
            one_best=kaldi_one_best,
            claims=is_espnet_directory,
            directory=True,
            replaces=ESPNET_NAMES,
        ),
        Format(
            "srilm",
            "SRILM's n-best files: one, a list of them, or their directory",
            SrilmRecord,
            frozenset(),
            blocks=_srilm,
            open=open_srilm,
            one_best=kaldi_one_best,
            begins=_begins_srilm,
            claims=is_list_directory,
            directory=True,
        ),
        Format(
            "fairseq",
            FAIRSEQ,
            FairseqRecord,
            frozenset(),
            blocks=_fairseq,
            open=line_writer(lambda: fairseq_lines),
            one_best=moses_one_best,
            parse=_parse_fairseq,
            begins=begins_fairseq,
        ),
        Format(
            "nemo",
            NEMO,
            NemoRecord,
            frozenset({"beam_size"}),
            blocks=_nemo,
            open=line_writer(NemoLines),
            one_best=moses_one_best,
            parse=_parse_nemo,
            begins=begins_nemo,
        ),
    )
}
