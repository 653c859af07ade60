"""Tests of the office backend."""
