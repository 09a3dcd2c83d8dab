"""
Metadata only; the environment of this repository is requirements.txt.

AllenNLP 2.10.1 is the last release, and its own pins (torch<1.13, transformers<4.21, protobuf<4, spacy<3.4 ...) admit no torch 2.
Naming it in `install_requires` or in an extra would therefore make every `pip install` of this package fail to resolve. The extra
`allennlp` lists what AllenNLP's code imports, with bounds that hold today, and AllenNLP itself follows without its dependencies:

    pip install ".[allennlp]"
    pip install --no-deps allennlp==2.10.1
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (HERE / "allennlp_elmo_plus" / "__init__.py").read_text("utf-8"), re.M)
README = HERE / "README.md"

# What AllenNLP's modules import, no more: `wandb`, `sentencepiece` and `sacremoses`, which it also asks for, are imported only by
# its wandb callback and by some of transformers' tokenizers, so users of those install them. The two upper bounds are those of the
# program `allennlp`; `elmo-plus` needs none (`plugin/removed_names.py`).
ALLENNLP_NEEDS = [
    "base58>=2.1.1",
    "cached-path>=1.6",
    "dill>=0.3.4",
    "fairscale>=0.4.13",
    "huggingface_hub<1",  # 1.0 dropped HfFolder
    "jsonnet>=0.20",
    "lmdb>=1.4",
    "more-itertools>=8.12",
    "nltk>=3.6.5",
    "scikit-learn>=1.2",
    "scipy>=1.10",
    "spacy>=3.8",  # the first built for numpy 2
    "tensorboardX>=2.6",
    "termcolor>=1.1",
    "torchvision",  # each release names its torch exactly, so the resolver picks the pair
    "transformers>=4.40,<4.50",  # 4.50 dropped the AdamW that AllenNLP subclasses
]

setup(
    name="allennlp_elmo_plus",
    version=VERSION.group(1),
    description="An AllenNLP plugin that pretrains ELMo's bidirectional language models",
    long_description=README.read_text("utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["allennlp_elmo_plus", "allennlp_elmo_plus.*"]),
    # `allennlp_elmo_plus/training_config` is a link to the folder at the top.
    package_data={
        "allennlp_elmo_plus": ["py.typed", "training_config/*.jsonnet", "training_config/lib/*.libsonnet"],
    },
    entry_points={
        "console_scripts": ["elmo-plus = allennlp_elmo_plus.__main__:main"],
        "spacy_factories": ["elmo_plus = allennlp_elmo_plus.integrations._spacy:create_elmo_plus"],
    },
    keywords=["ELMo", "language model", "contextual word vectors", "word embeddings", "AllenNLP", "PyTorch", "NLP"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Science/Research",
        "Operating System :: MacOS",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Text Processing :: Linguistic",
        "Typing :: Typed",
    ],
    python_requires=">=3.10",
    # Before torch 2.6, `torch.load(weights_only=True)` could be made to run code (CVE-2025-32434).
    # filelock 3.30 brought `lock_descriptor`, a lock of a file that is open already.
    install_requires=[
        "torch>=2.6",
        "numpy>=1.26",
        "numba>=0.60",
        "h5py>=3.10",
        "filelock>=3.30",
        "google-crc32c>=1.5",
        "overrides>=7",
        "tqdm>=4.62",
    ],
    extras_require={
        "allennlp": ALLENNLP_NEEDS,
        "dask": ["distributed>=2024.1"],
        "docs": ["mkdocs-material==9.*", "mkdocstrings[python]>=0.27"],
        "hub": ["cached-path>=1.6", "huggingface_hub>=0.23", "safetensors>=0.4"],
        "sklearn": ["scikit-learn>=1.6"],
        "spacy": ["spacy>=3.8"],
    },
)
