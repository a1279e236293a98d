"""nbest serve: the HTTP service and its page."""

import click


@click.command()
@click.option("--models", type=click.Path(exists=True, file_okay=False), help="Directory of models.")
@click.option(
    "--weights", type=click.Path(exists=True, file_okay=False), help="Directory of weight sets, NAME.json."
)
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one.  [default: 8000]"
)
@click.option("--preload", metavar="NAME,NAME", help="Models to load before the service says it is ready.")
@click.option("--device", metavar="DEVICE", help="Where models run: cpu, cuda or cuda:N.  [default: cpu]")
@click.option("--max-body-bytes", type=click.IntRange(1), help="Largest body, as sent and once decompressed.")
@click.option("--max-lists", type=click.IntRange(1), help="Most lists in a request.")
@click.option("--max-hypotheses", type=click.IntRange(1), help="Most hypotheses, or texts, in a request.")
@click.option("--max-text-bytes", type=click.IntRange(1), help="Longest text.")
@click.option("--max-features", type=click.IntRange(1), help="Most feature values of a hypothesis.")
@click.option("--queue-words", type=click.IntRange(1), help="Most words waiting for one model.")
@click.option("--batch-words", type=click.IntRange(1), help="Words scored in one call of a model.")
@click.option(
    "--drain-seconds", type=click.FloatRange(0), help="Go on serving so long after SIGTERM, not ready."
)
def serve(**given: object) -> None:
    """Serve rescoring over HTTP, with a page to try it at /.

    Every option is also a setting: --max-lists is NBEST_MAX_LISTS.
    """
    from service.server import run
    from service.settings import load_settings

    run(load_settings(**{name: value for name, value in given.items() if value is not None}))
