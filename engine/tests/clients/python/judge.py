"""The Python clients as judges of a broker.

    python judge.py CLIENT story --bootstrap B --prefix P                        the client's whole everyday life
    python judge.py CLIENT write --bootstrap B --topic T --codec C --input F     the flights, keyed, with timestamps
    python judge.py CLIENT read  --bootstrap B --topic T --group G --expect N    the flights, by a group of three

CLIENT is confluent, aio or kpython. Prints "ok NAME" per check; any difference is an exception and exit status 1.
"""
import importlib
import sys

import common

common.main(importlib.import_module("client_" + sys.argv[1]).Adapter)
