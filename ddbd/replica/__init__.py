"""One node's copy: core, log and tables, driven turn by turn, and who waits for what.

driver      the turn: step, send, save, apply          proposals   this node's writes, from the door to the answer
replica     what the web room sees of it               reads       linearizable reads and how old the tables can be
promises    what it needs of the world                 audit       comparing state hashes
                                                       seeding     snapshots, and nodes that lost their data
"""

from ddbd.replica.promises import Carrier, Clock, Dice, Peers, World
from ddbd.replica.replica import Replica

__all__ = ["Carrier", "Clock", "Dice", "Peers", "Replica", "World"]
