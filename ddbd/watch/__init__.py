"""A node looking at itself and at the others, for whoever looks at the node: the console, Prometheus, an operator.

    sampler, history     one row a second, kept as text for the charts
    timeline             what happened here, in plain sentences
    others               the other nodes' /status, asked for only while somebody watches
    disk                 how much room there is; never asked of the disk on the reactor's thread
    metrics              all of it in Prometheus' words

Nothing here decides anything. What is counted is counted by `ddbd.meter` and `ddbd.turns`, what happens is told by the replica; the wall
clock only dates it.
"""
