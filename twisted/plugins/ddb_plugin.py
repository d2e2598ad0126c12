"""`twistd ddb`. Strings only, so that `twistd --help` imports nothing of ddbd. There must be no __init__.py beside this file."""

from twisted.application.service import ServiceMaker

ddb = ServiceMaker("ddbd", "ddbd.start", "One node of a replicated table store", "ddb")
