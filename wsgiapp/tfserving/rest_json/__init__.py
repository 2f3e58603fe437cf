"""TF Serving's REST JSON <-> numpy arrays and messages.

The rules and the texts of errors are those of TF Serving's `util/json_tensor.cc`. Arrays are converted by numpy and
orjson as a whole; single values are looked at only to say what was wrong with them.
"""
