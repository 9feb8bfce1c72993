"""How `verify` compares what is stored with what follows from the raw events; `verify.py` puts it together."""
