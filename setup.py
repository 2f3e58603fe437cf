"""Packaging. Each dependency stands with the reason why it is one."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "wsgiapp/__init__.py").read_text(encoding="utf-8"))

setup(
    name="wsgiapp",
    version=VERSION[1] if VERSION else "0",
    description="An HTTP service in front of TensorFlow Serving",
    license="Apache-2.0",
    license_files=["LICENSE"],
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    packages=find_packages(include=["wsgiapp", "wsgiapp.*"]),
    python_requires=">=3.11",
    install_requires=[
        "flatbuffers>=24.3",  # signatures in the metadata of TensorFlow Lite models; TensorFlow brings it along
        "gevent>=24.11",  # the workers' event loop and HTTP server
        "grpcio>=1.70",  # the built-in model server
        "grpcio-health-checking>=1.70",  # the standard health service of the built-in model server
        "hpack>=4.1",  # headers of HTTP/2, as the channel to the model server receives them
        "isal>=1.7",  # deflate for PNG files, several times faster than zlib
        "jieba>=0.42.1",  # Chinese word segmentation: its dictionary and its probabilities
        "ml-dtypes>=0.4",  # bfloat16 for numpy; TensorFlow brings it along
        "numpy>=2.0",  # tensors
        "opencv-python-headless>=5.0",  # image files; 5.0 rejects JPEGs that are cut off
        "orjson>=3.10",  # JSON: strict, ten times faster than the standard library, and it writes numpy arrays
        "prometheus-client>=0.21",  # the gateway's counters, and the built-in model server's, as TF Serving's are read
        "protobuf>=5.29",  # TF Serving's messages
        "pybase64>=1.4",  # base64 of pictures, twenty times faster than the standard library
        "supervisor>=4.2.5",  # keeps all processes alive
        "tensorflow>=2.18",  # the built-in model server, and the messages' definitions
        "tensorflow-serving-api>=2.18",  # TF Serving's messages and stubs
        "werkzeug>=3.1",  # requests, responses, routing
    ],
    extras_require={
        "audit": [
            "cyclonedx-bom>=7.0",  # make sbom
            "packaging>=24.0",  # which requirements belong to this Python
            "pip-audit>=2.9",  # make audit
        ],
        "bench": [
            "fastapi>=0.115",  # a peer
            "flask>=3.0",  # peers
            "gunicorn>=23.0",  # serves the Flask peer that most people run
            "httptools>=0.6",  # uvicorn's fast HTTP parser
            "litserve>=0.2.6",  # a peer
            "matplotlib>=3.9",  # plots; and the photograph that is sent
            "pyuwsgi>=2.0.28",  # uWSGI as a wheel, which serves another Flask peer
            "uvicorn>=0.30",  # serves FastAPI
            "uvloop>=0.20",  # uvicorn's fast loop
        ],
        "dev": [
            "bandit>=1.8",  # what is risky in the code
            "coverage>=7.10",  # coverage of all processes of the tests
            "flask>=3.0",  # a service of the tutorials' kind, which calls the stack's model server
            "gunicorn>=23.0",  # conf/gunicorn.py
            "hypothesis>=6.100",  # random input for every parser
            "mypy>=1.13",  # types
            "playwright>=1.49",  # drives Debian's browser: a page of another origin calls the service
            "pytest>=8.3",  # tests
            "pytest-xdist>=3.6",  # two of their files at a time
            "pyuwsgi>=2.0.28",  # conf/uwsgi.ini: uWSGI as a wheel, with its gevent plugin
            "requests>=2.32",  # the client example
            "ruff>=0.8",  # format and lint
            "tensorflow-text>=2.18",  # models of TensorFlow Text are loaded
            "types-protobuf>=5.29",  # types of the messages' runtime
        ],
        "fuzz": [
            "atheris>=2.3",  # random input that is guided by what it reaches
        ],
        "gunicorn": ["gunicorn>=23.0"],  # app.server = "gunicorn"
        "uwsgi": ["pyuwsgi>=2.0.28"],  # app.server = "uwsgi"
        "text": [
            "tensorflow-text>=2.18",  # its operations, for models that have them; of the same version as tensorflow
        ],
    },
    entry_points={
        "console_scripts": [
            "tensorflow_model_server = wsgiapp.modelserver.__main__:main",
            "wsgiapp = wsgiapp.cli.__main__:main",
        ],
        "wsgiapp.pipelines": [
            "saliency = wsgiapp.pipelines.saliency:Saliency",
            "segmented_text = wsgiapp.pipelines.segmented_text:SegmentedText",
        ],
    },
)
