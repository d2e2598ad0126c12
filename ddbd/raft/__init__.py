"""Raft, whole and pure: no disk, no network, no clock and no dice of its own.

THE MODEL. A cluster is a handful of nodes that keep the same log. Entries are numbered by index; each carries the term of the leader
that appended it. Time is divided into terms with at most one leader each. The leader appends, sends its entries to the others, and calls
an entry committed once a majority has it on disk and it is of the leader's own term; from then on no later leader can lack it. Everyone
applies committed entries in order, so equal logs make equal tables. The paper is Ongaro and Ousterhout, "In Search of an Understandable
Consensus Algorithm" (cited as Raft 5.3 and so on); "thesis" is Ongaro's dissertation.

THE CONTRACT. `Raft` takes messages, ticks and proposals, and answers with data: `ready()` says what to send, save and apply. It never calls
out (the log's older part is read back through a reader that is handed in). The same inputs give the same run.

    types       the nouns            quorum      majorities, single and joint
    messages    what nodes say       progress    what a leader knows of a follower
    log         the log in memory    core        the term gate, the timers, the Ready
                                     follower, candidate, leader: what each role does

ELECTIONS. A follower that hears no leader for an election timeout asks whether it could win (pre-vote), and only then raises its term.
Nodes that hear their leader refuse, and ignore candidates: a node that was cut off cannot disturb the others. A leader that hears no quorum
steps down. The order of node ids decides who asks first, never who may win: a vote always goes to a log that is up-to-date. When the driver
knows that the leader's process is gone (its address refuses connections), nobody waits for a timeout.

HANDING OVER. A leader can order a caught-up voter to campaign at once. This is how the preferred master gets leadership back.

READS. A read index is the commit index at the start of a round of heartbeats that a majority answered: whoever has applied up to it answers
as if it were the leader. A read joins the next round, never one under way. There is no lease, so no clock can make a read stale.

SNAPSHOTS. Compaction drops what the tables hold durably. A follower that needs older entries is offered a snapshot of the tables, fetches
it outside of Raft, and goes on behind it.

MEMBERSHIP. A change of voters is joint: until it is left, a majority of the old and of the new voters must agree on everything. The
membership in force is the last one in the log, committed or not. A node that lost its disk comes back under a new life: it is demoted to
learner, catches up, is promoted, and votes for those whose log has the promotion. Until then nothing that it says counts.
"""
