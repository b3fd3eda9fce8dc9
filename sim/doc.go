// Package sim has no code of its own: its tests run the tool, its journal and
// the lab in one process on virtual time (testing/synctest), through random
// scenarios and through a failover by somebody else, a fault or a crash at
// every point of a run. See docs/simulation.md.
package sim
