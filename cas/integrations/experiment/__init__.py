"""Runs of experiments, each recorded as one version: inputs, parameters, code, environment, metrics, outputs."""
