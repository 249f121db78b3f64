"""Measurements, one command each (`python -m bench.NAME`); every one ends with one line of JSON holding its figures."""

from itool_data.process import prepare

prepare()
