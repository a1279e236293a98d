"""nbest serve: the HTTP service and its page."""

import click


@click.command()
@click.option(
    "--models",
    type=click.Path(exists=True, file_okay=False),
    help="Directory whose sub-directories are models.  [default: none, the shipped models alone]",
)
@click.option(
    "--weights",
    type=click.Path(exists=True, file_okay=False),
    help="Directory of weight sets, NAME.json.  [default: none]",
)
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one.  [default: 8000]"
)
@click.option(
    "--keys",
    type=click.Path(exists=True, dir_okay=False),
    help="File of the keys that callers need, made by `nbest keys create`.  [default: none]",
)
@click.option(
    "--no-keys",
    is_flag=True,
    default=None,
    help="Serve without keys even where others reach the service.  [default: off]",
)
@click.option(
    "--published",
    metavar="ADDRESS",
    help="Where others reach the service, if not at --host: a container's address.  [default: none]",
)
@click.option(
    "--preload",
    metavar="NAME,NAME",
    help="Models to load before the service says it is ready.  [default: none]",
)
@click.option("--device", metavar="DEVICE", help="Where models run: cpu, cuda or cuda:N.  [default: cpu]")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "int8"]),
    help="Of the models' products: fp32 is exact, int8 faster, a little off and slower to open.  "
    "[default: fp32]",
)
@click.option(
    "--max-body-bytes",
    type=click.IntRange(1),
    help="Largest body, as sent and once decompressed.  [default: 33554432]",
)
@click.option("--max-connections", type=click.IntRange(1, 100_000), help="Most at a time.  [default: 500]")
@click.option(
    "--header-seconds",
    type=click.FloatRange(0, 3600, min_open=True),
    help="Longest time for a request's headers to come.  [default: 20]",
)
@click.option(
    "--body-seconds",
    type=click.FloatRange(0, 3600, min_open=True),
    help="Longest time for a body to come, or an answer to be read.  [default: 300]",
)
@click.option("--max-lists", type=click.IntRange(1), help="Most lists in a request.  [default: 10000]")
@click.option(
    "--max-hypotheses",
    type=click.IntRange(1),
    help="Most hypotheses, or texts, in a request.  [default: 200000]",
)
@click.option(
    "--max-text-bytes", type=click.IntRange(1), help="Longest text in UTF-8 bytes.  [default: 1048576]"
)
@click.option(
    "--max-features", type=click.IntRange(1), help="Most feature values of a hypothesis.  [default: 5000]"
)
@click.option("--max-weights-bytes", type=click.IntRange(1), help="Largest weight set.  [default: 1048576]")
@click.option(
    "--max-weight-files",
    type=click.IntRange(1),
    help="Most weight sets, each version counted, that callers may leave.  [default: 10000]",
)
@click.option(
    "--queue-words", type=click.IntRange(1), help="Most words waiting for one model.  [default: 4000000]"
)
@click.option(
    "--max-held-bytes",
    type=click.IntRange(1),
    help="Most bytes of the bodies of all requests in hand.  [default: 268435456]",
)
@click.option(
    "--processes",
    type=click.IntRange(1, 256),
    help="Scoring processes; one for each four processors unless it is said.  [default: none]",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    help="Threads of each scoring process; OMP_NUM_THREADS, or what processors there are, unless said.  "
    "[default: none]",
)
@click.option(
    "--stuck-seconds",
    type=click.FloatRange(0, 3600, min_open=True),
    help="A scoring process that is silent in its work so long is ended.  [default: 60]",
)
@click.option(
    "--evaluate-seconds",
    type=click.FloatRange(0, 3600, min_open=True),
    help="Longest counting of an evaluation.  [default: 60]",
)
@click.option(
    "--tune-seconds",
    type=click.FloatRange(0, 3600, min_open=True),
    help="Longest search for weights.  [default: 300]",
)
@click.option(
    "--drain-seconds",
    type=click.FloatRange(0),
    help="Go on serving so long after SIGTERM, not ready.  [default: 0]",
)
@click.option(
    "--grace-seconds",
    type=click.FloatRange(1, 3600),
    help="Requests in hand are given so long to finish once it stops.  [default: 30]",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    help="Of the log: lines for people, or a JSON object a line.  [default: text]",
)
@click.option(
    "--access-log/--no-access-log",
    default=None,
    help="A line in the log for every request.  [default: access-log]",
)
def serve(**given: object) -> None:
    """Serve rescoring over HTTP, with a page to try it at /.

    Every option is also a setting of the environment: --max-lists is NBEST_MAX_LISTS. /livez and /readyz say
    whether the process answers and whether it is ready.
    """
    from service.server import run
    from service.settings import load_settings

    run(load_settings(**{name: value for name, value in given.items() if value is not None}))
