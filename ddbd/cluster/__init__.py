"""Between the nodes: who is there, what they say to each other, and how it gets there.

wire        messages <-> bytes, with limits
streams     one long GET to every peer, down which it pushes its messages (inbound: asking, outbound: pushing)
snapshots   copies of the tables, in pieces that are checked and can be resumed
formation   which cluster this node is part of (verdict: the decision as a function)
heartbeat   the tick
peers       addresses, dialling, the treq client
resource    the tree under /raft, and the checks that every request between nodes passes

Knows Raft's messages and nothing of Raft. The driver hands messages in and gets messages out.
"""
