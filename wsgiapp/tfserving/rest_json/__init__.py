"""TF Serving's REST JSON <-> numpy arrays and messages, by the rules of its `util/json_tensor.cc`.

Arrays are converted as a whole by numpy and orjson; single values are looked at only to say what is wrong with them."""
