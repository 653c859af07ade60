"""Packaging of pfserver: metadata, what it needs to run, and the extras."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

#: Needed to run the main job: packet in, documents out.
RUN = [
    "twisted[tls]>=24.10,<27",
    "zope.interface>=6,<9",
    "attrs>=23.2,<27",
    "treq>=24.9,<27",
    "SQLAlchemy>=2.0.30,<2.2",
    "alembic>=1.13,<2",
    "lmdb>=1.5,<4",
    "typst>=0.15,<0.16",
    "quickjs-ng>=0.16,<1",
    "pikepdf>=9,<11",
    "babel>=2.15,<3",
    "click>=8.1,<9",
    "rich>=13.7,<16",
]

EXTRAS = {
    "office": ["pyOpenSSL>=24,<27", "cryptography>=42"],
    "postgres": ["psycopg[binary]>=3.1,<4"],
    "dask": ["distributed>=2024.5"],
    "docs": ["sphinx>=7.3,<10", "furo>=2024.5", "myst-parser>=3,<6"],
    "test": [
        "build>=1.2,<2",
        "hypothesis>=6.100,<7",
        "distributed>=2024.5",
        "pypdf>=4.2,<8",
        "pypdfium2>=4.30,<6",
        "odfpy>=1.4,<2",
        "python-docx>=1.1,<2",
        "openpyxl>=3.1,<4",
        "python-pptx>=1,<2",
        "pillow>=10",
    ],
    "check": [
        "mypy>=1.11,<3",
        "mypy-zope>=1.0.8,<2",
        "ruff>=0.6,<1",
        "import-linter>=2,<3",
        "towncrier>=23.11",
        "build>=1.2,<2",
    ],
    "bench": ["celery[redis]>=5.4,<6", "procrastinate>=3,<4", "psutil>=5.9", "unoserver>=3,<4"],
}

setup(
    name="pfserver",
    version="0.1.0.dev0",
    description=(
        "A durable job server for document production that speaks the Pageflex Server socket API, "
        "OMI and the Officeshots XML-RPC API"
    ),
    long_description=(HERE / "README.md").read_text(encoding="utf-8") if (HERE / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    keywords="variable data printing, web-to-print, Pageflex, OMI, MUMPS, Officeshots, Typst, job server",
    author="The pfserver developers",
    python_requires=">=3.11",
    packages=[*find_packages(include=["pfserver", "pfserver.*"]), "twisted.plugins"],
    package_data={
        "pfserver": ["py.typed"],
        "pfserver.projects": ["*.js"],
        "pfserver.projects.samples": ["*.pf", "*/*"],
        "pfserver.store.migrations": ["script.py.mako"],
        "twisted.plugins": ["pfserver_plugins.py"],
    },
    install_requires=RUN,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["pfserver = pfserver.client.cli:main"]},
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: No Input/Output (Daemon)",
        "Framework :: Twisted",
        "Intended Audience :: Information Technology",
        "Intended Audience :: Healthcare Industry",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Office/Business",
        "Topic :: Printing",
        "Typing :: Typed",
    ],
)
