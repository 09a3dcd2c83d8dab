"""The command `elmo-push`."""

import argparse

from overrides import overrides

from allennlp_elmo_plus.commands.shared.command_line import ElmoCommand, UsageError
from allennlp_elmo_plus.commands.shared.model_arguments import MODEL_HELP, add_vocab_file_argument
from allennlp_elmo_plus.integrations import push_to_hub
from allennlp_elmo_plus.integrations.hub import CARD_NAME, write_repository


class ElmoPush(ElmoCommand):
    """Publish a biLM on the Hugging Face Hub.

    It is then loaded as hf://USER/NAME. The repository gets bilm-tf's three files, model.safetensors and a model card, README.md;
    a README.md that it has is kept. Log in with `hf auth login`, or set HF_TOKEN. With --output-dir nothing is uploaded.
    """

    example = """\
examples:
  elmo-plus push runs/bilm/model.tar.gz USER/elmo-ko --language ko --license apache-2.0 --output-dir elmo-ko
    writes the folder that would be uploaded
  elmo-plus push runs/bilm/model.tar.gz USER/elmo-ko --language ko --license apache-2.0
    uploads it"""
    after_interruption = "each file is complete, or as it was before; an upload changes the repository all at once"

    @overrides
    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("model", help=MODEL_HELP)
        parser.add_argument("repository", help="USER/NAME; a repository that is missing is created")
        parser.add_argument(
            "--language",
            metavar="CODE",
            action="append",
            default=[],
            help="the ISO 639 code of the language, such as ko; repeat the option for several languages",
        )
        parser.add_argument("--license", metavar="NAME", help="the license, as the Hub names it, such as apache-2.0")
        parser.add_argument(
            "--tag", metavar="TAG", action="append", default=[], help="a tag of the repository; repeat it for several"
        )
        parser.add_argument("--private", action="store_true", help="make a new repository private")
        parser.add_argument("--output-dir", metavar="DIR", help="write the files to this directory, and upload nothing")
        add_vocab_file_argument(parser)

    @overrides
    def run(self, args: argparse.Namespace) -> None:
        facts = {
            "language": args.language,
            "license": args.license,
            "tags": args.tag,
            "vocab_file": args.vocab_file,
        }
        if args.output_dir is None:
            url = push_to_hub(args.model, args.repository, private=args.private, **facts)
            print(f"uploaded to {url}; load it as hf://{args.repository}")
            return
        if args.private:
            raise UsageError("--private is for an upload, and --output-dir uploads nothing")
        paths = write_repository(args.model, args.repository, args.output_dir, **facts)
        for path in paths:
            print(f"wrote {path}")
        if CARD_NAME not in {path.name for path in paths}:
            print(f"kept the {CARD_NAME} in {args.output_dir}")
