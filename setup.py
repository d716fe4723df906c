"""Which packages are installed: those of tfmed, and the settings files as `tfmed.configs`."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["tfmed", "tfmed.*"]), "tfmed.configs"],
    package_dir={"tfmed.configs": "configs"},
    package_data={
        "tfmed": ["py.typed", "engine/templates/*.html", "engine/templates/*.js"],
        "tfmed.configs": ["*.yaml", "*/*.yaml"],
    },
)
